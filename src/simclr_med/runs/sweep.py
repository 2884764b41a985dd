"""The jobs of a sweep: their outcomes, recorded by the process that ran each, and the summary at the end.

A job runs in this process, in a worker or on another machine. Its outcome therefore goes through a file in the sweep's
folder: ``<runs>/.sweeps/<time>/jobs/<number>.json``.
"""

from __future__ import annotations

import math
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from simclr_med.atomic import write_json
from simclr_med.runs.fields import Fields, describe_error, make_printable
from simclr_med.runs.names import shown_path
from simclr_med.safe_files import read_json

Outcome = Literal[
    "started",
    "done",
    "skipped",
    "failed",
    "busy",
    "pending",
    "unfinished",
    "finished",
    "missing encoder",
    "missing teacher",
]
# The words of the summary, in its order. The last five are outcomes of dry_run=true.
WORDS: dict[Outcome, str] = {
    "done": "done",
    "skipped": "already finished",
    "failed": "failed",
    "busy": "left to another process",
    "started": "interrupted",
    "finished": "finished",
    "unfinished": "unfinished, can be resumed",
    "pending": "pending",
    "missing encoder": "pending, needs its encoder first",
    "missing teacher": "pending, needs its teacher first",
}


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep.

    Attributes:
        folder: of the sweep.
        number: of the job, from 0.
        overrides: of the job.
    """

    folder: Path
    number: int
    overrides: tuple[str, ...]

    @property
    def record(self) -> Path:
        return self.folder / "jobs" / f"{self.number}.json"


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of one run. A sweep job has several when it covers several label budgets or seeds.

    Attributes:
        outcome: a key of WORDS.
        status: exit code of a command that does this run alone.
        message: why it failed, one problem per line.
        folder: of the run; empty if the command failed before the folder was known.
        seconds: wall time.
    """

    outcome: Outcome
    status: int = 0
    message: str = ""
    folder: str = ""
    seconds: float = 0.0


class Sweep(Callback):
    """Hydra's callback of conf/config.yaml: makes the sweep's config known in the process that starts the sweep.

    Hydra sets HydraConfig inside each job only, and a parallel launcher runs no job in this process.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        HydraConfig.instance().set_config(config)


def started_sweep() -> Path | None:
    """Return the folder of the sweep that this process started, outside of its jobs; None without a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).absolute()


def current_job() -> SweepJob | None:
    """Return the sweep job that is running, or None outside a sweep."""
    folder = started_sweep()
    if folder is None:
        return None
    hydra = HydraConfig.get()
    return SweepJob(folder, hydra.job.num, tuple(hydra.overrides.task))


def record_outcomes(job: SweepJob, outcomes: Iterable[RunOutcome]) -> None:
    """Write a job's outcomes to its record. A full disk does not end the sweep."""
    try:
        job.record.parent.mkdir(parents=True, exist_ok=True)
        write_json(job.record, {"overrides": list(job.overrides), "runs": [asdict(outcome) for outcome in outcomes]})
    except OSError as error:
        print(f"{job.record}: could not be written ({error.strerror}).", file=sys.stderr)


def read_outcomes(folder: Path) -> list[tuple[str, RunOutcome]]:
    """Return (overrides, outcome) of every recorded run of a sweep, in the order of its jobs.

    A record that cannot be read is left out, with one line.
    """
    found = []
    for path in sorted(_record_paths(folder), key=lambda path: int(path.stem)):
        try:
            found += _read_record(path)
        except (OSError, ValueError) as error:
            print(f"{path}: unreadable and left out of the summary ({describe_error(error)}).", file=sys.stderr)
    return found


def _record_paths(folder: Path) -> list[Path]:
    return [path for path in (folder / "jobs").glob("*.json") if path.stem.isdecimal()]


def _read_record(path: Path) -> list[tuple[str, RunOutcome]]:
    """Return (overrides, outcome) of every run of one job.

    Raises:
        OSError, ValueError: the record cannot be read.
    """
    record = Fields.from_record(read_json(path))
    overrides = make_printable(" ".join(map(str, record.items("overrides"))))
    return [(overrides, _parse_outcome(Fields.from_record(run))) for run in record.items("runs")]


def _parse_outcome(run: Fields) -> RunOutcome:
    if run.text("outcome") not in WORDS:
        raise run.error("outcome", f"one of {', '.join(WORDS)}")
    return RunOutcome(
        outcome=cast(Outcome, run.text("outcome")),
        status=run.integer("status", 0, 255),
        message="\n".join(map(make_printable, str(run.content.get("message", "")).splitlines())),
        folder=make_printable(str(run.content.get("folder", ""))),
        seconds=run.number("seconds", 0.0),
    )


def remove_unstarted(folder: Path) -> None:
    """Remove the folder of a sweep that started no job, and its parent folders if they are empty."""
    if not (folder / "jobs").exists():
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # not empty, or missing
            folder.parent.rmdir()
            folder.parent.parent.rmdir()


def mean_objective(outcomes: Sequence[RunOutcome], metric: str) -> float:
    """Return the mean of a metric over the runs of a job; NaN where one of them failed or does not record it."""
    values = []
    for outcome in outcomes:
        try:
            record = Fields.from_record(read_json(Path(outcome.folder) / "result.json"))
            values.append(record.fields("metrics").number(metric))
        except (OSError, ValueError) as error:
            reason = outcome.message.partition("\n")[0] or describe_error(error)
            print(f"objective={metric}: {outcome.folder or 'the job'} has no value ({reason}).", file=sys.stderr)
            return math.nan
    return statistics.fmean(values) if values else math.nan


def exit_status(outcomes: Iterable[RunOutcome]) -> int:
    """Return the exit code of several runs: the highest."""
    return max((outcome.status for outcome in outcomes), default=0)


def sweep_summary(outcomes: Sequence[tuple[str, RunOutcome]], folder: Path) -> str:
    """Return the text that ends a sweep: a table of the outcomes, and each failure with the jobs that share it.

    Args:
        outcomes: (overrides, outcome) of each run.
        folder: of the sweep.
    """
    counts = Counter(outcome.outcome for _, outcome in outcomes)
    table = Table(show_header=False)
    for outcome, words in WORDS.items():
        if counts[outcome]:
            table.add_row(words, str(counts[outcome]))
    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    runs = {outcome.folder for _, outcome in outcomes if outcome.folder}
    lines = [f"Sweep of {len(_record_paths(folder))} jobs, {len(runs)} runs", captured.get().rstrip()]
    # Plain lines, because rich would wrap long ones.
    jobs_by_reason: dict[str, list[str]] = {}
    for overrides, run in outcomes:
        if run.status:
            problem = run.message.partition("\n")[0]
            reason = f"{WORDS[run.outcome]}: {problem}" if problem else WORDS[run.outcome]
            jobs_by_reason.setdefault(reason, []).append(overrides)
    for reason, jobs in jobs_by_reason.items():
        lines += [reason, *(f"  {overrides}" for overrides in jobs)]
    if jobs_by_reason:
        lines.append("Repeat the command to run what is left.")
    best = folder / "optimization_results.yaml"  # written by Hydra's Optuna sweeper
    found = [f"Best:     {shown_path(best)}"] if best.exists() else []
    return "\n".join([*lines, *found, f"Sweep:    {shown_path(folder)}"])
