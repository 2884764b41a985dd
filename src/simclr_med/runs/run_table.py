"""Runs as text: a table for a terminal, tab-separated lines for a pipe, or JSON."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from simclr_med.runs.names import shown_path
from simclr_med.runs.records import VALIDATION, RunRecord
from simclr_med.runs.selection import Candidate, find_differences

SHOWN_CANDIDATES = 5
ROOM = {"path": 140, "age": 100}  # columns of a terminal from which on the table has room for a column
FLEXIBLE = ("differs", "path")  # columns that wrap where the terminal is narrow
SHARED = ("stage", "data set", "state")  # columns that the title replaces where all runs agree
_AGES = ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h"), (float("inf"), 86400, "d"))


def print_records(records: Sequence[RunRecord], place: str) -> None:
    """Print runs as a table on a terminal, else as tab-separated lines with every column.

    Args:
        records: in their order.
        place: the folder of all runs, for the title.
    """
    rows = describe_records(records)
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        for line in [list(rows[0]), *(row.values() for row in rows)] if rows else []:
            print("\t".join(map(_as_cell, line)))
        return
    shared = {name: rows[0][name] for name in SHARED if rows and len({row[name] for row in rows}) == 1}
    hidden = {*shared, *(name for name, width in ROOM.items() if console.width < width)}
    names = [name for name in (rows[0] if rows else {}) if name not in hidden]
    facts = "".join(f", {name} {value}" for name, value in shared.items())
    print(f"{len(rows)} run{'s' * (len(rows) != 1)} in {place}{facts}")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=name not in FLEXIBLE, overflow="fold", justify=_justify(name))
    for row in rows:
        table.add_row(*(_as_cell(row[name]) for name in names))
    console.print(table)


def print_json(records: Sequence[RunRecord]) -> None:
    """Print runs as a JSON list, each with its metrics and its config."""
    json.dump(to_dicts(records), sys.stdout, indent=1, default=str)
    print()


def to_dicts(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return runs as plain values, with their metrics and configs."""
    return [
        {
            "run": record.folder.name,
            "path": str(record.folder),
            "state": record.state,
            "stage": record.stage,
            "dataset": record.dataset,
            "budget": record.budget,
            "seed": record.seed,
            "init": record.start,
            "differs": differences,
            "validation": record.validation,
            "metrics": dict(record.metrics),
            "wall_s": record.wall_s,
            "changed_at": datetime.fromtimestamp(record.changed_at, timezone.utc).isoformat(timespec="seconds"),
            "message": record.message,
            "config": record.config,
        }
        for record, differences in zip(records, find_differences(records), strict=True)
    ]


def describe_records(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return the columns of a list of runs, a mapping for each run."""
    now = time.time()
    return [
        {
            "id": record.id,
            "stage": record.stage,
            "data set": record.dataset,
            # The data set has a column of its own; here it is shown where the weights come from another one.
            "differs": " ".join(f"{key}={value}" for key, value in differences.items()).replace(
                f"init=pretrained {record.dataset} ", "init=pretrained "
            ),
            "budget": record.budget,
            "seeds": record.seeds,
            "validation": record.validation,
            "state": record.state,
            "age": format_age(now - record.changed_at),
            "path": shown_path(record.folder),
        }
        for record, differences in zip(records, find_differences(records), strict=True)
    ]


def print_candidates(dataset: str, ranked: Sequence[Candidate]) -> None:
    """Print the best configurations of a data set, and the command that uses the best run.

    Args:
        dataset: name of the data set.
        ranked: of `rank_candidates`.
    """
    best = ranked[0].best
    differences = find_differences([candidate.best for candidate in ranked])
    rows = [
        (
            f"{candidate.best.stage} {candidate.best.start}",
            " ".join(f"{key}={value}" for key, value in found.items() if key != "init"),
            candidate.mean,
            _describe_scores(candidate.scores),
            candidate.best.id,
        )
        for candidate, found in list(zip(ranked, differences, strict=True))[:SHOWN_CANDIDATES]
    ]
    metric = next(text for name, text in VALIDATION.items() if name in best.metrics)
    title = f"{dataset}, budget {best.budget}: {metric}, mean over seeds"
    header = ("model", "differs", "mean", "runs", "best run")
    # A column without content would only narrow the others.
    shown = [place for place, name in enumerate(header) if name != "differs" or any(row[place] for row in rows)]
    print_columns([header[place] for place in shown], [[row[place] for place in shown] for row in rows], title)
    print(f"Use {shown_path(best.folder)}")
    if best.is_classifier:
        place = shlex.quote(shown_path(best.folder))
        print(f"  simclr-med stage=predict stage.run={place} dataset=folder dataset.path=my_images")


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Print a table of names and values under a title."""
    table = Table(show_header=False, box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, _as_cell(value))
    print(title)
    Console(markup=False, emoji=False, highlight=False).print(table)


def print_columns(header: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table with one column per name; the first column never wraps."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(name, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(_as_cell, row))
    if title:
        print(title)
    Console(markup=False, emoji=False, highlight=False).print(table)


def format_age(seconds: float) -> str:
    """Return a duration in its largest unit: ``5 s``, ``3 min``, ``2 h``, ``4 d``."""
    seconds = max(0.0, seconds)
    unit, name = next((unit, name) for limit, unit, name in _AGES if seconds < limit)
    return f"{int(seconds // unit)} {name}"


def _describe_scores(scores: Sequence[float]) -> str:
    return f"{len(scores)} ({scores[-1]:.3f} to {scores[0]:.3f})" if len(scores) > 1 else "1"


def _as_cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value.is_integer() and value != 1 else f"{value:.3f}"  # 1.000 may be a score


def _justify(name: str) -> Any:
    return "right" if name in ("seeds", "validation", "age") else "left"
