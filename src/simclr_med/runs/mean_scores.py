"""The mean scores of the runs that one command executed, for each label budget."""

from __future__ import annotations

import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simclr_med.runs.fields import Fields, describe_error
from simclr_med.runs.names import shown_path
from simclr_med.safe_files import read_json

OFFLINE_LOGS = "*/wandb/offline-run-*"  # of W&B, in the folders of runs


SCORES = {"test/accuracy": "test accuracy", "test/auroc": "test AUROC"}


def print_means(finished: Sequence[tuple[str, Path]]) -> None:
    """Print a table of the main scores of several runs: for each label budget the mean, and the range in brackets.

    A run whose result.json cannot be read is left out, with one line.

    Args:
        finished: label budget and folder of each run, in the order of the table; one or more.
    """
    scores_of: dict[str, list[list[float]]] = {}
    for budget, run in finished:
        try:
            scores_of.setdefault(budget, []).append(_read_scores(run))
        except (OSError, ValueError) as error:
            print(f"{run / 'result.json'}: left out of the means ({describe_error(error)}).", file=sys.stderr)
    table = Table("labels", "runs", *SCORES.values())
    for budget, runs in scores_of.items():
        if runs:
            table.add_row(budget, str(len(runs)), *map(_format_mean, zip(*runs, strict=True)))
    folder = finished[0][1].parent
    print("Mean (lowest to highest) of the finished runs")
    Console(markup=False, emoji=False).print(table)
    print(f"Runs:     {shown_path(folder)}", flush=True)
    if any(folder.glob(OFFLINE_LOGS)):
        place = shlex.quote(shown_path(folder))
        print(f"W&B:      offline logs; upload them with: wandb sync {place}/{OFFLINE_LOGS}", flush=True)


def _read_scores(run: Path) -> list[float]:
    """Return the scores of a run in the order of SCORES.

    Raises:
        OSError, ValueError: result.json cannot be read or has no such score.
    """
    metrics = Fields.from_record(read_json(run / "result.json")).fields("metrics")
    return [metrics.number(key) for key in SCORES]


def _format_mean(values: Sequence[float]) -> str:
    spread = f"  ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"
