"""Scores of subgroups of the test images, and how well features tell the subgroups apart."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from simclr_med.report.cells import CELL_NOTE, NONE, format_cell, summarise_cells
from simclr_med.report.comparison_texts import format_points
from simclr_med.report.comparisons import MIN_POSITIVES
from simclr_med.report.doubts import Doubt
from simclr_med.report.methods import select_main_runs
from simclr_med.report.rescoring import score_part
from simclr_med.report.score_tables import Table, build_table, format_number
from simclr_med.runs.fields import describe_error, make_printable
from simclr_med.safe_files import read_text
from simclr_med.types import Task

Read = Callable[[Path, str | None], tuple[Task, np.ndarray, np.ndarray]]
MOST_VALUES = 20  # of a column that forms subgroups
TELLING = 0.7  # AUROC above which a confounder is a doubt, if its interval is above 0.5 too
_KEYS = ["data", "encoder", "method", "budget"]
_AUROC, _ERROR = "test/auroc", "test/calibration_error"


def build_subgroup_table(rows: pd.DataFrame, read: Read, notes: list[str]) -> list[Table]:
    """Return a row for each value of each column of subgroups.csv, and each main method.

    Args:
        rows: of `score_tables.select_scored_runs`.
        read: as in `comparisons.compare_methods`.
        notes: a sentence is appended for each run that cannot be used.
    """
    found = []
    for _, group in rows.groupby(["data", "encoder"]):
        columns = _read_columns(group, notes)
        for selected in select_main_runs(group):
            for column, values_N in columns.items():
                found += _score_values(selected, column, values_N, read, notes)
    if not found:
        return []
    numbers = pd.DataFrame(found)
    shown = pd.DataFrame(
        {
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "method": numbers["method"],
            "labels": numbers["budget"],
            "column": numbers["column"],
            "value": numbers["value"],
            "images": numbers["images"].astype(str),
            "classes": numbers["classes"].astype(str),
            "AUROC": numbers.pop("cell"),
            "minus the others, points": [
                NONE if math.isnan(gap) else f"{format_points(gap)} ({format_points(low)} to {format_points(high)})"
                for gap, low, high in zip(numbers["gap"], numbers["gap_low"], numbers["gap_high"], strict=True)
            ],
            "calibration error": [format_number(value) for value in numbers["calibration_error"]],
        }
    )
    note = (
        f"Subgroups of the test images by the columns of dataset.metadata_csv. {CELL_NOTE} AUROC is the mean over the "
        f"classes with at least {MIN_POSITIVES} test images inside and outside the subgroup (“classes”: how many), and "
        "so is that of all other test images, from which the gap is measured. The gap's 95 % interval is not adjusted "
        "for the number of rows. Small subgroups have a larger calibration error by chance."
    )
    return [build_table("subgroups", "Subgroups of the test images", note, numbers, shown)]


def build_confounder_table(rows: pd.DataFrame, notes: list[str]) -> tuple[list[Table], dict[str, Doubt]]:
    """Return how well the features of each method tell the columns, and by data set the doubt about it.

    Args:
        rows: of `score_tables.select_scored_runs`.
        notes: a sentence is appended for each file that cannot be read.
    """
    records = [
        {"data": row["data"], "encoder": row["encoder"], "method": row["method"], "start": row["start"]} | found
        for row in rows[rows["stage"] == "probe"].to_dict("records")
        for found in _read_confounders(Path(row["folder"]), notes)
    ]
    if not records:
        return [], {}
    # All probes on one encoder ask the same.
    numbers = pd.DataFrame(records).drop_duplicates(["data", "encoder", "method", "start", "column"])
    numbers = numbers.groupby(["data", "encoder", "method", "column"], sort=False).agg(
        encoders=("start", "size"),
        auroc=("auroc", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
        values=("values", "max"),
        images=("images", "max"),
    )
    numbers = numbers.reset_index()
    shown = numbers[["data", "encoder", "method", "column"]].rename(columns={"data": "data set"})
    shown["values"] = numbers["values"].astype(str)
    shown["images"] = numbers["images"].astype(str)
    shown["AUROC"] = [
        f"{row.auroc:.3f} [{row.low:.3f}, {row.high:.3f}] ({row.encoders} encoder{'s' * (row.encoders > 1)})"
        for row in numbers.itertuples()
    ]
    note = (
        "A linear classifier of each column on the frozen features, fitted to training images and scored on test "
        "images; the interval covers test images. Where the features tell the scanner or the hospital, a classifier "
        "of the disease can use it instead of the disease."
    )
    doubts: dict[str, Doubt] = {}
    for data, group in numbers[(numbers["auroc"] > TELLING) & (numbers["low"] > 0.5)].groupby("data"):
        best = group.groupby("column")["auroc"].max()
        listed = ", ".join(f"{column} (AUROC {value:.2f})" for column, value in best.items())
        doubts[str(data)] = Doubt(f"the features tell {listed}", f"Confounders: the features tell {listed}.")
    return [build_table("confounders", "What the features tell besides the classes", note, numbers, shown)], doubts


def _score_values(
    runs: pd.DataFrame, column: str, values_N: np.ndarray, read: Read, notes: list[str]
) -> list[dict[str, Any]]:
    """Return a row of the table for each value of a column."""
    rows = []
    hashes = set(map(str, runs["data_hash"]))
    for value in sorted(set(values_N.tolist()) - {""}):
        is_inside_N = values_N == value
        sides = (is_inside_N, ~is_inside_N & (values_N != ""))
        select = partial(_find_common, sides)
        inside, others = (score_part(runs, dict.fromkeys(hashes, side), read, notes, select) for side in sides)
        if inside.empty:
            continue
        cell, rest = (_summarise(part) for part in (inside, others))
        gap = cell["mean"] - rest["mean"]
        half = math.hypot(cell["high"] - cell["low"], rest["high"] - rest["low"]) / 2
        rows.append(
            {name: inside[name].iloc[0] for name in _KEYS}
            | {"column": column, "value": value, "images": int(is_inside_N.sum()), "cell": cell["text"]}
            | {"classes": int(inside["problems"].max())}
            | {"auroc": cell["mean"], "auroc_low": cell["low"], "auroc_high": cell["high"]}
            | {"gap": gap if half == half else math.nan, "gap_low": gap - half, "gap_high": gap + half}
            | {_ERROR.removeprefix("test/"): float(inside[_ERROR].mean())}
        )
    return rows


def _find_common(sides: tuple[np.ndarray, np.ndarray], truth_NM: np.ndarray) -> np.ndarray:
    """Return the binary problems with enough images of both labels on both sides, bool [M]."""
    counts = [np.minimum(truth_NM[side].sum(axis=0), (~truth_NM[side]).sum(axis=0)) for side in sides]
    return np.asarray(np.min(counts, axis=0) >= MIN_POSITIVES)


def _summarise(part: pd.DataFrame) -> dict[str, Any]:
    """Return mean, low, high and text of AUROC; NaN where no class has enough images."""
    if part.empty or part[_AUROC].isna().any():
        return {"mean": math.nan, "low": math.nan, "high": math.nan, "text": NONE}
    cell = summarise_cells(part, _KEYS, [_AUROC]).iloc[0]
    bounds = {name: float(cell[f"{_AUROC} {name}"]) for name in ("mean", "low", "high")}
    return bounds | {"text": format_cell(dict(cell), _AUROC)}


def _read_columns(rows: pd.DataFrame, notes: list[str]) -> dict[str, np.ndarray]:
    """Return the columns of the first run that has a subgroups.csv, with a text for each test image."""
    for folder, count in zip(rows["folder"], rows["test_images"], strict=True):
        path = Path(folder) / "subgroups.csv"
        try:
            lines = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, csv.Error) as error:
            notes.append(f"{path}: {describe_error(error)}. No subgroups are formed by it.")
            continue
        if len(lines) != count:
            notes.append(f"{path}: has {len(lines)} rows and not {count}. No subgroups are formed by it.")
            continue
        columns = {
            make_printable(str(name)): np.array([make_printable(line[name] or "") for line in lines])
            for name in (lines[0] if lines else {})
            if name is not None
        }
        return {name: values for name, values in columns.items() if _is_grouping(values)}
    return {}


def _is_grouping(values: np.ndarray) -> bool:
    """Return whether a column has several values and few enough."""
    return 2 <= len(Counter(values.tolist()).keys() - {""}) <= MOST_VALUES


def _read_confounders(folder: Path, notes: list[str]) -> list[dict[str, Any]]:
    path = folder / "confounders.csv"
    try:
        lines = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
        return [
            {"column": make_printable(line["column"])}
            | {name: int(line[name]) for name in ("values", "images")}
            | {name: float(line[name]) for name in ("auroc", "low", "high")}
            for line in lines
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        notes.append(f"{path}: {describe_error(error)}. It is not used.")
        return []
