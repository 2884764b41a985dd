"""The mean scores of the runs that one command executed, for each label budget."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simclr_med.runs.names import shown_path

OFFLINE_LOGS = "*/wandb/offline-run-*"  # of W&B, in the folders of runs


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
