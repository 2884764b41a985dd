"""A sweep's cells: what became of each, written down by the process that ran it and told together at the end.

A cell may run in this process, in a worker or on another machine, so its outcome goes through a file of the sweep's own
folder: ``<runs>/.sweeps/<time>/cells/<number>.json``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from simclr_med.atomic import write_json

Outcome = Literal["started", "done", "skipped", "failed", "busy", "new", "unfinished", "finished", "missing encoder"]
# In the order of the table; the last four are what dry_run says of a cell.
WORDS: dict[Outcome, str] = {
    "done": "done",
    "skipped": "finished before",
    "failed": "failed",
    "busy": "left to another process",
    "started": "stopped before its end",
    "finished": "finished",
    "unfinished": "unfinished, will go on",
    "new": "new",
    "missing encoder": "missing its encoder",
}

# The folder of the sweep that this very process began; None in a worker, in a SLURM job, and outside a sweep.
_begun: list[Path] = []


@dataclass(frozen=True)
class SweepJob:
    """Where a cell stands in its sweep.

    Attributes:
        folder: of the sweep.
        number: of the cell, from 0.
        words: its overrides.
    """

    folder: Path
    number: int
    words: tuple[str, ...]

    @property
    def own(self) -> bool:
        """Whether this process began the sweep, and so can come back to a cell later."""
        return self.folder in _begun

    @property
    def record(self) -> Path:
        return self.folder / "cells" / f"{self.number}.json"


@dataclass(frozen=True)
class RunOutcome:
    """What became of a cell, or of one run of a job that covers several budgets.

    Attributes:
        outcome: one of WORDS.
        status: exit code that a command of its own would end with.
        message: of what failed, a line a problem.
        folder: of the run, when it came that far.
        seconds: that it took.
    """

    outcome: Outcome
    status: int = 0
    message: str = ""
    folder: str = ""
    seconds: float = 0.0


class Sweep(Callback):
    """Hydra's callback of conf/config.yaml: remembers which sweep this process has begun."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _begun.append(Path(config.hydra.sweep.dir).absolute())


def current_job() -> SweepJob | None:
    """The cell that is being run, or None outside a sweep."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return SweepJob(Path(hydra.sweep.dir).absolute(), hydra.job.num, tuple(hydra.overrides.task))


def begun() -> Path | None:
    """The folder of the sweep that this process began."""
    return _begun[-1] if _begun else None


def record_outcomes(at: SweepJob, cells: Iterable[RunOutcome]) -> None:
    """Write down what became of a cell; a disk that takes nothing more must not end the sweep."""
    try:
        at.record.parent.mkdir(parents=True, exist_ok=True)
        write_json(at.record, {"words": list(at.words), "runs": [asdict(cell) for cell in cells]})
    except OSError as error:
        print(f"{at.record}: could not be written ({error.strerror}).", file=sys.stderr)


def read_outcomes(folder: Path) -> list[tuple[str, RunOutcome]]:
    """(overrides, run) of every recorded run of a sweep, in the order of the cells."""
    found = []
    for path in sorted((folder / "cells").glob("*.json"), key=lambda path: int(path.stem)):
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found += [(" ".join(content["words"]), RunOutcome(**run)) for run in content["runs"]]
    return found


def remove_unstarted(folder: Path) -> None:
    """Remove the folder of a sweep whose cells never began, and the folders above it that hold nothing else."""
    if not (folder / "cells").exists():
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # not empty, or not there
            folder.parent.rmdir()
            folder.parent.parent.rmdir()


def exit_status(cells: Iterable[RunOutcome]) -> int:
    """Exit code of a sweep, or of one job: the highest of its runs."""
    return max((cell.status for cell in cells), default=0)


def sweep_summary(cells: Sequence[tuple[str, RunOutcome]], folder: Path) -> str:
    """The table that ends a sweep: how many cells came to which end, and each that failed with its reason."""
    counts = Counter(cell.outcome for _, cell in cells)
    table = Table(show_header=False)
    for outcome, words in WORDS.items():
        if counts[outcome]:
            table.add_row(words, str(counts[outcome]))
    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as kept:
        console.print(table)
    # Plain lines below: rich would break long ones.
    lines = [
        f"Sweep of {len(cells)} cells, {len({cell.folder for _, cell in cells if cell.folder})} runs",
        kept.get().rstrip(),
    ]
    failed: dict[str, list[str]] = {}
    for words, cell in cells:
        if cell.status:
            reason = cell.message.partition("\n")[0]
            failed.setdefault(f"{WORDS[cell.outcome]}: {reason}" if reason else WORDS[cell.outcome], []).append(words)
    for reason, which in failed.items():
        lines += [reason, *(f"  {words}" for words in which)]
    if failed:
        lines.append("The same command goes on with what is left.")
    return "\n".join([*lines, f"Sweep:    {folder}"])
