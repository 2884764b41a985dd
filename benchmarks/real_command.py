"""The real command in this process, with a callback of ours in every fit: it runs as users run it, and is watched."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer

from simclr_med.cli import main as command

Watching = TypeVar("Watching", bound=Callback)


def run_with(made: Callable[[], Watching], words: list[str]) -> list[Watching]:
    """Run ``simclr-med`` with these words; the callbacks, one for each fit, last in its trainer's list.

    Raises:
        SystemExit: the command failed.
    """
    fit, watching = Trainer.fit, []

    def watched_fit(trainer: Trainer, *arguments: Any, **named: Any) -> None:
        watching.append(made())
        trainer.callbacks.append(watching[-1])  # type: ignore[attr-defined]
        fit(trainer, *arguments, **named)

    Trainer.fit = watched_fit  # type: ignore[method-assign]
    before, sys.argv = sys.argv, ["simclr-med", *words]
    try:
        command.main()
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        Trainer.fit, sys.argv = fit, before  # type: ignore[method-assign]
    return watching


def note(made: Callable[[], Watching], told: Callable[[list[Watching]], Any]) -> None:
    """Be a script ``SCRIPT OUT.json BEGAN WORD...``: run the words and write what the callbacks tell to OUT.json."""
    out, _, *words = sys.argv[1:]
    Path(out).write_text(json.dumps(told(run_with(made, words))), encoding="utf-8")
