"""Scores with and without the test images that stand, identical or nearly, in the training or validation split."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.report.cells import CELL_NOTE, format_cell, summarise_cells
from simclr_med.report.doubts import Doubt
from simclr_med.report.methods import sort_budgets, sort_methods
from simclr_med.report.rescoring import score_part
from simclr_med.report.score_tables import MAIN, METRIC_NAMES, Table, build_table
from simclr_med.runs.fields import describe_error
from simclr_med.safe_files import read_text
from simclr_med.types import Task

Read = Callable[[Path, str | None], tuple[Task, np.ndarray, np.ndarray]]
KINDS = ("exact_duplicate", "near_duplicate")  # of findings.csv
_KEYS = ["data", "encoder", "method", "budget"]


@dataclass(frozen=True)
class Twins:
    """The test images of one data set that have a twin in another split.

    Attributes:
        data: the data set.
        data_hash: content hash of the audited data.
        test_images: number of all test images.
        rows: of the test split.
        audit: folder of the audit's run.
    """

    data: str
    data_hash: str
    test_images: int
    rows: tuple[int, ...]
    audit: Path


def find_twins(table: pd.DataFrame, rows: pd.DataFrame, notes: list[str]) -> list[Twins]:
    """Return the twins of each data set of the report that was audited; those without twins have no rows.

    Args:
        table: of a `collect.Collection`; finished runs of stage=audit name the audited data by their content hash.
        rows: of `score_tables.select_scored_runs`.
        notes: a sentence is appended for each audit that cannot be read.
    """
    found: dict[str, Twins] = {}
    audits = table[(table["state"] == "finished") & (table["stage"] == "audit")]
    for folder, data_hash in zip(audits["folder"], audits["data_hash"], strict=True):
        scored = rows[rows["data_hash"] == data_hash]
        if scored.empty:
            continue
        path = Path(folder) / "findings.csv"
        count = int(scored["test_images"].max())
        try:
            indices = read_test_twins(path, count)
        except (OSError, ValueError) as error:
            notes.append(f"{path}: {describe_error(error)}. The audit is not used.")
            continue
        found[str(data_hash)] = Twins(str(scored["data"].iloc[0]), str(data_hash), count, indices, Path(folder))
    return list(found.values())


def read_test_twins(path: Path, test_images: int) -> tuple[int, ...]:
    """Return the rows of the test images that have a duplicate in the training or validation split, in order.

    Args:
        path: findings.csv of an audit.
        test_images: of the data set.

    Raises:
        OSError: the file cannot be read, or is larger than 64 MiB.
        ValueError: a column is missing, or a row of the test split is not one.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = {"kind", "split", "index", "other_split", "other_index"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"no column {', '.join(sorted(missing))}")
    found = set()
    for line, finding in enumerate(reader, 2):
        if finding["kind"] not in KINDS:
            continue
        sides = ((finding["split"], finding["index"]), (finding["other_split"], finding["other_index"]))
        if sorted(split == "test" for split, _ in sides) != [False, True]:
            continue
        index = next(index for split, index in sides if split == "test")
        if not (index or "").isdecimal() or int(index) >= test_images:
            raise ValueError(f"line {line}: expected a row of the {test_images} test images, found {str(index)[:40]!r}")
        found.add(int(index))
    return tuple(sorted(found))


def score_without_twins(
    rows: pd.DataFrame, twins: list[Twins], read: Read, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the runs on data with twins twice: with their scores on all test images, and on those without a twin."""
    kept, every = {}, {}
    for found in twins:
        if found.rows:
            is_kept_N = np.ones(found.test_images, dtype=bool)
            every[found.data_hash] = is_kept_N.copy()
            is_kept_N[list(found.rows)] = False
            kept[found.data_hash] = is_kept_N
    selected = rows[rows["data_hash"].isin(kept)]
    return score_part(selected, every, read, notes), score_part(selected, kept, read, notes)


def build_twin_table(every: pd.DataFrame, kept: pd.DataFrame) -> list[Table]:
    """Return the scores of each method with and without twins, side by side; no table without twins.

    Args:
        every, kept: of `score_without_twins`.
    """
    if every.empty or kept.empty:
        return []
    both = pd.merge(
        summarise_cells(every, _KEYS, MAIN), summarise_cells(kept, _KEYS, MAIN), on=_KEYS, suffixes=(" all", " kept")
    )
    methods, budgets = sort_methods(every), sort_budgets(every["budget"])
    ranks = {"_method": both["method"].map(methods.index), "_budget": both["budget"].map(budgets.index)}
    both = both.assign(**ranks).sort_values(["data", "encoder", "_method", "_budget"])
    both = both.drop(columns=list(ranks)).reset_index(drop=True)
    shown = both[_KEYS].rename(columns={"data": "data set", "budget": "labels"})
    for metric in reversed(MAIN):
        for suffix, words in (("all", "all images"), ("kept", "without twins")):
            parts = both[[name for name in both if str(name).endswith(f" {suffix}")]]
            parts = parts.rename(columns=lambda name: str(name).rpartition(" ")[0])
            shown[f"{METRIC_NAMES[metric]}, {words}"] = [format_cell(row, metric) for row in parts.to_dict("records")]
        gaps = both[f"{metric} mean kept"] - both[f"{metric} mean all"]
        shown[f"{METRIC_NAMES[metric]}, change in points"] = [f"{100 * gap + 0.0:+.1f}" for gap in gaps]
    note = (
        "Twins are test images with an exact or a near duplicate in the training or validation split, as the audit "
        f"found them. {CELL_NOTE}"
    )
    return [build_table("without_twins", "Test scores with and without twins", note, both, shown)]


def describe_twins(twins: list[Twins], rows: pd.DataFrame, every: pd.DataFrame, kept: pd.DataFrame) -> dict[str, Doubt]:
    """Return for each data set the doubt about test images with twins; none where an audit found no twins.

    Args:
        twins: of `find_twins`.
        rows: of `score_tables.select_scored_runs`.
        every, kept: of `score_without_twins`.
    """
    not_looked = Doubt(
        "nobody has looked for twins across the splits",
        "Twins: nobody has looked for test images that also stand in the training or validation split. "
        "simclr-med stage=audit does.",
    )
    doubts = {str(data): not_looked for data in set(rows["data"])}
    for found in twins:
        doubts.pop(found.data, None)
        if not found.rows:
            continue
        verb = "has" if len(found.rows) == 1 else "have"
        short = f"{len(found.rows)} of {found.test_images} test images {verb} a twin in another split"
        sentence = f"Twins: {short}: the same or nearly the same image is in the training or validation split."
        if len(every) and len(kept):
            change = kept.set_index("folder")["test/auroc"] - every.set_index("folder")["test/auroc"]
            own = 100 * change[every.set_index("folder")["data"] == found.data].dropna()
            if len(own):
                short += f" (AUROC changes by {own.mean() + 0.0:+.1f} points without such images)"
                sentence += (
                    f" Without them, AUROC changes by {own.mean() + 0.0:+.1f} points on average over the runs "
                    f"({own.min() + 0.0:+.1f} to {own.max() + 0.0:+.1f})."
                )
        doubts[found.data] = Doubt(short, sentence)
    return doubts
