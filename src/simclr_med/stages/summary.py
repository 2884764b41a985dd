"""What a stage prints when it ends."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simclr_med.runs.names import shown_path

OFFLINE_LOGS = "*/wandb/offline-run-*"  # of W&B, in the folders of runs


def print_summary(title: str, rows: Mapping[str, str], folder: Path, pictures: Sequence[Path]) -> None:
    """Print a short table, then the paths of the run's folder and of its pictures."""
    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console(markup=False, emoji=False)  # a data set may be called [red] or :cat:
    # Plain prints: rich would break a title over the table's width, a long path over the terminal's.
    print(title)
    console.print(table)
    print(f"Run:      {shown_path(folder)}")
    for picture in pictures:
        print(f"Picture:  {shown_path(picture)}")


def print_line(folder: Path, rows: Mapping[str, str], seconds: float) -> None:
    """Print the summary of a run that is one of several as a line: its folder's name and its first two scores.

    Args:
        folder: of the run.
        rows: of the summary; an interval after two spaces is left out.
        seconds: wall time.
    """
    scores = ", ".join(f"{name} {value.partition('  ')[0]}" for name, value in list(rows.items())[:2])
    print(f"{folder.name}: {scores}; {seconds:.1f} s", flush=True)


def print_means(folder: Path, results: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Print a table of the main scores of several runs: for each label budget the mean, and the range in brackets.

    Args:
        folder: that holds the folders of the runs.
        results: label budget and metrics of each run, in the order of the table.
    """
    scores = {"test/accuracy": "test accuracy", "test/auroc": "test AUROC"}
    table = Table("labels", "runs", *scores.values())
    for budget in dict.fromkeys(budget for budget, _ in results):
        runs = [metrics for name, metrics in results if name == budget]
        table.add_row(budget, str(len(runs)), *(_format_mean([run[key] for run in runs]) for key in scores))
    print("Mean (lowest to highest) of the finished runs")
    Console(markup=False, emoji=False).print(table)
    print(f"Runs:     {shown_path(folder)}", flush=True)
    if any(folder.glob(OFFLINE_LOGS)):
        print(f"W&B:      offline logs; upload them with: wandb sync {shown_path(folder)}/{OFFLINE_LOGS}", flush=True)


def _format_mean(values: Sequence[float]) -> str:
    spread = f"  ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"
