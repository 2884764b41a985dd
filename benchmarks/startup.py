"""Time of each phase of the real command from start to end. Imports nothing slow, because imports are measured.

As a script: OUT.json BEGAN OVERRIDE..., where BEGAN is the start of the process (time.time).
"""

from __future__ import annotations

import time

ENTERED = time.time()

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

FIRST_STEP = "first step"  # the loggers (W&B) start in a thread meanwhile


class Phases:
    """Seconds of consecutive phases.

    Args:
        began: start of the first phase.
    """

    def __init__(self, began: float) -> None:
        self.seconds: dict[str, float] = {}
        self._at = began

    def mark(self, name: str, at: float | None = None) -> None:
        """End the phase of this name now or at the given time."""
        now = time.time() if at is None else at
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._at
        self._at = now

    def mark_calls(self, owner: Any, name: str, before: str | None, after: str | None) -> None:
        """End the phase `before` when the function is called, and the phase `after` when it returns."""
        function: Callable[..., Any] = getattr(owner, name)

        def marking(*arguments: Any, **named: Any) -> Any:
            if before is not None:
                self.mark(before)
            value = function(*arguments, **named)
            if after is not None:
                self.mark(after)
            return value

        setattr(owner, name, marking)


def main() -> None:
    out, began, *overrides = sys.argv[1:]
    phases = Phases(float(began))
    phases.mark("Python itself", ENTERED)
    from simclr_med import build
    from simclr_med.cli import main as command

    phases.mark("imports of the command (Hydra)")
    phases.mark_calls(build, "build_source", "config composed and checked", None)
    import_stage = build.import_stage
    growth: dict[str, Any] = {}

    def stage(cfg: Any) -> Any:
        phases.mark("data hash, run folder")
        run = import_stage(cfg)
        phases.mark("imports of the stage (torch, Lightning)")
        inner = sys.modules[run.__module__]
        phases.mark_calls(sys.modules["simclr_med.stages.setup"], "load_images", None, "data read")
        phases.mark_calls(inner, "build_module", "data checked", "network built")
        _watch_fit(phases, growth)
        return run

    build.import_stage = stage  # type: ignore[assignment]
    sys.argv = ["simclr-med", *overrides]
    try:
        command.main()
    except SystemExit as ended:
        if ended.code:
            raise
    phases.mark("export, figures, result, closing W&B")
    Path(out).write_text(json.dumps(growth | {"seconds": phases.seconds}), encoding="utf-8")


def _watch_fit(phases: Phases, measured: dict[str, Any]) -> None:
    from growth import Growth
    from lightning.pytorch import Trainer

    fit = Trainer.fit

    def watched_fit(trainer: Trainer, *arguments: Any, **named: Any) -> None:
        phases.mark("trainer built")
        growth = Growth()
        trainer.callbacks.append(growth)  # type: ignore[attr-defined]
        fit(trainer, *arguments, **named)
        began, ended = growth.first_step
        phases.mark("trainer and optimizer set up", began)
        phases.mark(FIRST_STEP, ended)
        phases.mark("rest of training")
        measured.update(growth.to_dict())

    Trainer.fit = watched_fit  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
