"""Scores under corruptions of the test images: curves over severity, mean corruption errors, a table by corruption."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from simclr_med.plots.style import line_style
from simclr_med.report.budgets import describe_budget
from simclr_med.report.cells import CELL_NOTE, NONE, format_cell, summarise_cells
from simclr_med.report.methods import CONTROL, sort_budgets, sort_methods
from simclr_med.report.score_figures import Chart
from simclr_med.report.score_tables import METRIC_NAMES, Table, build_table, format_number
from simclr_med.report.tested_runs import FAMILY
from simclr_med.runs.fields import describe_error, make_printable
from simclr_med.safe_files import read_text

SEVERITIES = (1, 2, 3, 4, 5)
MOST_ROWS = 1_000  # of a corruptions.csv; the largest has 70
SMALLEST_RISE = 0.01  # of the reference's balanced error, below which a relative error says nothing
CLEAN = "none"  # name of clean images
_SCORES = ("accuracy", "auroc", "balanced_error")
_SHOWN = ("accuracy", "auroc")
_GROUP = ["data", "encoder", FAMILY]
_KEYS = [*_GROUP, "method", "budget"]
_ERROR_NOTE = (
    "Mean corruption error: for each corruption, the balanced error (1 - balanced accuracy, mean over severities) is "
    "divided by that of the reference; these ratios are averaged. Relative corruption error: the same with the "
    "increase of the error over clean images; corruptions that increase the reference's error by less than "
    f"{SMALLEST_RISE} are left out. Both are 1 for the reference, and lower is better. The reference is the baseline "
    "under the same label budget, or else the untrained control. In MedMNIST-C the errors are called BE and rBE, and "
    "the reference is AlexNet."
)


@dataclass(frozen=True)
class Errors:
    """Mean scores of the runs of one method under one label budget.

    Attributes:
        by_corruption: corruption -> score -> mean over severities and runs.
        clean: score of clean images, mean over runs.
    """

    by_corruption: dict[str, dict[str, float]]
    clean: dict[str, float]


def build_corrupted_image_tables(tested: pd.DataFrame, notes: list[str]) -> list[Table]:
    """Return the scores of each method on corrupted images, and the AUROC by corruption.

    Args:
        tested: of `tested_runs.select_tested_runs`.
        notes: a sentence is appended for each file that cannot be read.
    """
    runs = _select(tested)
    if runs.empty:
        return []
    metrics = ["test/auroc", *(f"test/corrupted_{score}" for score in _SCORES)]
    numbers = _sort(summarise_cells(runs, _KEYS, [name for name in metrics if name in runs]), runs)
    errors = {key: _read_errors(list(group["folder"]), notes) for key, group in runs.groupby(_KEYS)}
    found = [errors.get(tuple(row[key] for key in _KEYS)) for row in numbers.to_dict("records")]
    references = [_find_reference(row, runs, errors) for row in numbers.to_dict("records")]
    ratios = [_compare(*pair) for pair in zip(found, (reference for _, reference in references), strict=True)]
    numbers = numbers.assign(
        reference=[name for name, _ in references],
        mean_corruption_error=[ratio for ratio, _ in ratios],
        relative_corruption_error=[relative for _, relative in ratios],
    )
    shown = _show_keys(numbers)
    for title, metric in (("AUROC, clean images", metrics[0]), ("AUROC, corrupted images", metrics[2])):
        if f"{metric} mean" in numbers:
            shown[title] = [format_cell(values, metric) for values in numbers.to_dict("records")]
    shown["mean corruption error"] = [format_number(value, 2) for value in numbers["mean_corruption_error"]]
    shown["relative corruption error"] = [format_number(value, 2) for value in numbers["relative_corruption_error"]]
    shown["accuracy, corrupted images"] = [format_cell(values, metrics[1]) for values in numbers.to_dict("records")]
    shown["balanced error, corrupted images"] = [format_number(value) for value in numbers[f"{metrics[3]} mean"]]
    shown["reference"] = list(numbers["reference"])
    note = (
        "Scores of corrupted images are means over the corruptions of the family and five severities "
        "(stage.corruptions=true). "
        f"{CELL_NOTE} {_ERROR_NOTE}"
    )
    table = build_table("corrupted_images", "Corrupted test images", note, numbers, shown)
    return [table, *_build_corruption_tables(numbers, found)]


def plot_corrupted_images(tested: pd.DataFrame) -> list[Chart]:
    """Draw the scores over severity; a figure for each data set, encoder, family and label budget."""
    charts = []
    runs = _select(tested)
    for (data, encoder, family), group in runs.groupby(_GROUP) if len(runs) else ():
        for budget in sort_budgets(group["budget"]):
            figure = _draw(group[group["budget"] == budget])
            name = f"corrupted_images_{data}_{encoder}_{family}_{budget.replace(' ', '_')}"
            title = f"Corrupted images: {data}, {encoder}, {describe_budget(budget)}, family {family}"
            note = (
                "Mean over the corruptions of the family at each severity, with 95 % confidence intervals, as in the "
                "tables. Severity 0 means clean images. The vertical axis does not start at 0."
            )
            charts.append(Chart(name, title, note, figure))
    return charts


def _select(tested: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that scored corrupted images."""
    if "test/corrupted_accuracy" not in tested:
        return tested.iloc[:0]
    return tested[tested["test/corrupted_accuracy"].notna() & tested[FAMILY].notna()]


def _draw(runs: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots(1, len(_SHOWN))
    names = {score: [f"test/{score}", *(f"test/corrupted_{score}/{s}" for s in SEVERITIES)] for score in _SHOWN}
    methods = sort_methods(runs)
    for axis, score in zip(axes, _SHOWN, strict=True):
        metrics = [name for name in names[score] if name in runs]
        numbers = summarise_cells(runs, ["method"], metrics).set_index("method")
        places = np.array([names[score].index(name) for name in metrics])
        for number, method in enumerate(methods):
            mean, low, high = (
                numbers.loc[method, [f"{name} {part}" for name in metrics]].to_numpy(dtype=float)
                for part in ("mean", "low", "high")
            )
            arms = np.nan_to_num(np.stack([mean - low, high - mean])).clip(min=0)
            shift = 0.06 * (number - (len(methods) - 1) / 2)
            axis.errorbar(places + shift, mean, arms, label=method, capsize=3, linewidth=1.5, **line_style(number))
        axis.set_xticks([0, *SEVERITIES], ["0", *map(str, SEVERITIES)])
        axis.set(xlabel="severity", ylabel=f"test {METRIC_NAMES[f'test/{score}']}")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False, fontsize=9)
    return figure


def _build_corruption_tables(numbers: pd.DataFrame, found: Sequence[Errors | None]) -> list[Table]:
    """Return for each data set, encoder and family the AUROC by corruption."""
    tables = []
    for (data, encoder, family), group in numbers.groupby(_GROUP, sort=False):
        errors = {index: known for index in group.index if (known := found[index]) is not None}
        if not errors:
            continue
        kept = group.loc[list(errors)]
        names = list(dict.fromkeys(name for each in errors.values() for name in each.by_corruption))
        columns = {
            f"{name} {score}": [each.by_corruption.get(name, {}).get(score, np.nan) for each in errors.values()]
            for name in names
            for score in _SCORES
        }
        shown = pd.DataFrame({"corruption": ["none (clean images)", *(name.replace("_", " ") for name in names)]})
        for index, each in errors.items():
            values = [each.clean["auroc"], *(each.by_corruption.get(name, {}).get("auroc", np.nan) for name in names)]
            method, budget = kept.at[index, "method"], str(kept.at[index, "budget"])
            shown[f"{method}, {describe_budget(budget)}"] = [format_number(value) for value in values]
        title = f"AUROC by corruption: {data}, {encoder}, family {family}"
        note = "Test AUROC, mean over five severities and over runs. The CSV also has accuracy and balanced error."
        every = pd.DataFrame(columns, index=kept.index)
        table = pd.concat([kept[_KEYS], every], axis=1)
        tables.append(build_table(f"corruptions_{data}_{encoder}_{family}", title, note, table, shown))
    return tables


def _find_reference(
    row: dict[Any, Any], runs: pd.DataFrame, errors: dict[Any, Errors | None]
) -> tuple[str, Errors | None]:
    """Return the method that a row's errors are divided by, and its errors; a dash where there is none."""
    same = runs[(runs[[*_GROUP, "budget"]] == [row[key] for key in (*_GROUP, "budget")]).all(axis=1)]
    for kind in ("baseline", CONTROL):
        for method in sort_methods(same[same["kind"] == kind]):
            key = tuple({**row, "method": method}[name] for name in _KEYS)
            if errors.get(key) is not None:
                return method, errors[key]
    return NONE, None


def _compare(errors: Errors | None, reference: Errors | None) -> tuple[float, float]:
    """Return the mean corruption error and the relative one; NaN where they are not defined."""
    if errors is None or reference is None or set(errors.by_corruption) != set(reference.by_corruption):
        return np.nan, np.nan
    name = "balanced_error"
    own, others = (
        np.array([each.by_corruption[corruption][name] for corruption in errors.by_corruption])
        for each in (errors, reference)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.mean(np.where(others > 0, own / others, np.nan)))
        rise = others - reference.clean[name]
        relative = ((own - errors.clean[name]) / rise)[rise >= SMALLEST_RISE]
    return ratio, float(np.mean(relative)) if len(relative) else np.nan


def _read_errors(folders: Sequence[Path], notes: list[str]) -> Errors | None:
    """Return the mean scores of some runs; None where no file can be read."""
    every = []
    for folder in folders:
        path = Path(folder) / "corruptions.csv"
        try:
            every.append(_parse(read_text(path)))
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            notes.append(f"{path}: {describe_error(error)}. It is not used.")
    if not every:
        return None
    means = pd.concat(every).groupby("corruption", sort=False)[list(_SCORES)].mean()
    table = zip(means.index, means.to_numpy(dtype=np.float64).tolist(), strict=True)
    by_corruption = {str(name): dict(zip(_SCORES, values, strict=True)) for name, values in table}
    clean = by_corruption.pop(CLEAN)
    return Errors(by_corruption, clean)


def _parse(text: str) -> pd.DataFrame:
    """Return the rows of a corruptions.csv.

    Raises:
        ValueError: a row is missing or has a value outside its range.
    """
    rows: list[dict[str, Any]] = []
    for line in csv.DictReader(io.StringIO(text, newline="")):
        values = {score: float(line[score]) for score in _SCORES}
        if not all(0 <= value <= 1 or np.isnan(value) for value in values.values()) or len(rows) == MOST_ROWS:
            raise ValueError(f"expected at most {MOST_ROWS} rows of fractions")
        rows.append({"corruption": make_printable(line["corruption"]), "severity": int(line["severity"])} | values)
    counts = Counter(row["corruption"] for row in rows)
    if counts.pop(CLEAN, 0) != 1 or set(counts.values()) != {len(SEVERITIES)}:
        raise ValueError(f"expected {len(SEVERITIES)} severities of each corruption, and clean images")
    return pd.DataFrame(rows)


def _show_keys(numbers: pd.DataFrame) -> pd.DataFrame:
    shown = numbers[["data", "encoder", FAMILY, "method"]].rename(columns={"data": "data set"})
    return shown.assign(labels=numbers["budget"])


def _sort(numbers: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by data set, encoder, family, budget and method."""
    methods, budgets = sort_methods(runs), sort_budgets(runs["budget"])
    ranks = {"_method": numbers["method"].map(methods.index), "_budget": numbers["budget"].map(budgets.index)}
    ordered = numbers.assign(**ranks).sort_values([*_GROUP, "_budget", "_method"])
    return ordered[list(numbers)].reset_index(drop=True)
