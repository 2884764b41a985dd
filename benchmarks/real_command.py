"""The real command in this process, with a measuring callback in every fit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer

from simclr_med.cli import main as command

Watching = TypeVar("Watching", bound=Callback)


def run_command(create: Callable[[], Watching], overrides: list[str]) -> list[Watching]:
    """Run ``simclr-med`` with a new callback at the end of each trainer's list, and return the callbacks.

    Raises:
        SystemExit: the command failed.
    """
    fit, callbacks = Trainer.fit, []

    def watched_fit(trainer: Trainer, *arguments: Any, **named: Any) -> None:
        callbacks.append(create())
        trainer.callbacks.append(callbacks[-1])  # type: ignore[attr-defined]
        fit(trainer, *arguments, **named)

    Trainer.fit = watched_fit  # type: ignore[method-assign]
    before, sys.argv = sys.argv, ["simclr-med", *overrides]
    try:
        command.main()
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        Trainer.fit, sys.argv = fit, before  # type: ignore[method-assign]
    return callbacks


def record(create: Callable[[], Watching], measurements: Callable[[list[Watching]], Any]) -> None:
    """Run as a script ``SCRIPT OUT.json BEGAN OVERRIDE...``: run the command and write the measurements to OUT.json.

    Args:
        create: returns a new callback for each fit.
        measurements: maps the callbacks to the content of the JSON.
    """
    out, _, *overrides = sys.argv[1:]
    Path(out).write_text(json.dumps(measurements(run_command(create, overrides))), encoding="utf-8")
