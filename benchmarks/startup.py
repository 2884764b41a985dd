"""The real command from its start to its end, each stretch timed. Imports nothing heavy itself: that is measured.

As a script: OUT.json BEGAN WORD..., BEGAN the time (of time.time) at which the process was asked for.
"""

from __future__ import annotations

import time

ENTERED = time.time()

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

FIRST_STEP = "the first step"


class Stretches:
    """Seconds between marks.

    Args:
        began: the time that the first stretch starts at.
    """

    def __init__(self, began: float) -> None:
        self.seconds: dict[str, float] = {}
        self._at = began

    def mark(self, name: str, at: float | None = None) -> None:
        """The stretch of this name ends now, or at that time."""
        now = time.time() if at is None else at
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._at
        self._at = now

    def around(self, owner: Any, name: str, before: str | None, after: str | None) -> None:
        """Mark when the function is called and when it is done."""
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
    out, began, *words = sys.argv[1:]
    stretches = Stretches(float(began))
    stretches.mark("Python itself", ENTERED)
    from simclr_med import build
    from simclr_med.cli import main as command

    stretches.mark("imports of the command (Hydra)")
    stretches.around(command, "checked", "config composed", "config checked")
    stretches.around(build, "stage", "data's hash, the run's folder", None)
    found = build.import_stage
    told: dict[str, Any] = {}

    def stage(cfg: Any) -> Any:
        run = found(cfg)
        stretches.mark("imports of the stage (torch, Lightning)")
        inner = sys.modules[run.__module__]
        stretches.around(inner, "images", None, "data read")
        stretches.around(inner, "learner", "data looked at", "network made")
        stretches.around(inner, "loggers_of", None, "loggers (W&B)")
        _watch_fit(stretches, told)
        return run

    build.import_stage = stage  # type: ignore[assignment]
    sys.argv = ["simclr-med", *words]
    try:
        command.main()
    except SystemExit as ended:
        if ended.code:
            raise
    stretches.mark("export, figures, result, W&B's end")
    Path(out).write_text(json.dumps(told | {"seconds": stretches.seconds}), encoding="utf-8")


def _watch_fit(stretches: Stretches, told: dict[str, Any]) -> None:
    from growth import Growth
    from lightning.pytorch import Trainer

    fit = Trainer.fit

    def watched_fit(trainer: Trainer, *arguments: Any, **named: Any) -> None:
        stretches.mark("trainer made")
        growth = Growth()
        trainer.callbacks.append(growth)  # type: ignore[attr-defined]
        fit(trainer, *arguments, **named)
        began, ended = growth.first_step
        stretches.mark("trainer and optimizer set up", began)
        stretches.mark(FIRST_STEP, ended)
        stretches.mark("the rest of training")
        told.update(growth.told())

    Trainer.fit = watched_fit  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
