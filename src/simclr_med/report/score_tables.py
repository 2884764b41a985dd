"""The report's tables of scores: means over seeds with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simclr_med.metrics.intervals import compute_seed_interval
from simclr_med.report.methods import SCORED, sort_budgets, sort_methods

MEAN = (
    "Mean over seeds ± half of the 95 % interval (Student's t over the seeds), and the number of runs in brackets; "
    "alike: the seeds changed nothing, as where one encoder meets all labels."
)
NONE = "\N{EN DASH}"  # in a cell without a number
METRIC_NAMES = {
    "test/accuracy": "accuracy",
    "test/auroc": "AUROC",
    "test/balanced_accuracy": "balanced accuracy",
    "test/macro_f1": "macro F1",
    "val/knn_accuracy": "kNN accuracy on validation",
}
MAIN = ("test/accuracy", "test/auroc")
PARTS = ("mean", "low", "high", "runs")  # of a metric, over the runs that have it
_LIKE = ["kind", "encoder", "budget", "sequence"]
_GROUP = ["data", "encoder", "method", "budget"]


@dataclass(frozen=True)
class Table:
    """One table in two forms.

    Attributes:
        name: of its files.
        title: above it.
        note: what its cells mean.
        numbers: every number in full, a column a quantity: the CSV.
        shown: text, as a reader wants it: the page, Markdown and LaTeX.
    """

    name: str
    title: str
    note: str
    numbers: pd.DataFrame
    shown: pd.DataFrame


def table(name: str, title: str, note: str, numbers: pd.DataFrame, shown: pd.DataFrame) -> Table:
    """A table whose reader is told once of an encoder that all its rows share."""
    encoders = set(shown["encoder"]) if "encoder" in shown else set()
    if len(encoders) == 1:
        return Table(name, title, f"{note} Encoder: {encoders.pop()}.", numbers, shown.drop(columns="encoder"))
    return Table(name, title, note, numbers, shown)


def mean_over_seeds(rows: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Mean and interval of each metric over the runs that share some columns.

    Returns:
        the columns of by, ``images`` (trained on, mean), ``runs``, and for each metric its name with ``mean``, ``low``,
        ``high`` and ``runs``; low and high are NaN for a single run, and for runs that are all alike. Runs without a
        metric are left out of its mean and of its runs.
    """
    found = []
    for key, group in rows.groupby(list(by), sort=False, dropna=False):
        row: dict[str, object] = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        row |= {"images": _mean(group, "train/images"), "runs": len(group)}
        for metric in metrics:
            values = group[metric].dropna() if metric in group else ()
            mean, low, high = compute_seed_interval(list(values)) if len(values) else (np.nan, np.nan, np.nan)
            if len(values) and min(values) == max(values):
                low = high = np.nan
            row |= dict(zip((f"{metric} {part}" for part in PARTS), (mean, low, high, len(values)), strict=True))
        found.append(row)
    columns = [*by, "images", "runs", *(f"{metric} {part}" for metric in metrics for part in PARTS)]
    return pd.DataFrame(found, columns=columns)


def format_mean(mean: float, low: float, runs: int) -> str:
    """A mean with its interval in one cell: ``0.812 ± 0.013 (3)``."""
    if np.isnan(mean):
        return NONE
    if np.isnan(low):
        return f"{mean:.3f} ({runs} alike)" if runs > 1 else f"{mean:.3f} (1)"
    return f"{mean:.3f} ± {mean - low:.3f} ({runs})"


def format_number(value: float, digits: int = 3) -> str:
    """A number in a cell, or a dash for NaN."""
    return NONE if np.isnan(value) else f"{value:.{digits}f}"


def build_label_efficiency_tables(rows: pd.DataFrame) -> list[Table]:
    """Each method under each budget that is not one of so many images a class, a table a metric."""
    picked = rows[~rows["budget"].str.startswith("per_class")]
    return _build_budget_tables(picked, "label_efficiency", "Label efficiency", MAIN)


def build_class_balance_tables(rows: pd.DataFrame) -> list[Table]:
    """Each method under the budgets of as many images of each class."""
    picked = rows[rows["budget"].str.startswith("per_class")]
    metrics = (*MAIN, "test/balanced_accuracy", "test/macro_f1")
    return _build_budget_tables(picked, "class_balance", "As many images of each class", metrics)


def build_ablation_tables(rows: pd.DataFrame) -> list[Table]:
    """Augmentations of the pretraining against each other, where a data set's own encoders have two or more."""
    return _build_budget_tables(select_ablation_runs(rows), "ablation", "Augmentation of the pretraining", MAIN)


def select_ablation_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Runs on encoders pretrained on the data set alone, of the kinds that have several augmentations to compare."""
    own = rows[rows["origin"] == "own " + rows["sequence"]]
    several = own.groupby(["data", "encoder", "kind"])["sequence"].transform("nunique") > 1
    return own[several]


def build_transfer_tables(rows: pd.DataFrame) -> list[Table]:
    """The data set that an encoder was pretrained on against the one that it is used on, a table a metric."""
    made = select_transfer_runs(rows)
    if made.empty:
        return []
    numbers = mean_over_seeds(made, ["kind", "encoder", "budget", "seen", "data"], MAIN)
    numbers["_budget"] = numbers["budget"].map(sort_budgets(made["budget"]).index)
    numbers = numbers.sort_values(["kind", "encoder", "_budget", "seen", "data"]).drop(columns="_budget")
    keys = {"kind": "method", "encoder": "encoder", "budget": "labels", "seen": "pretrained on"}
    return [
        table(
            f"transfer_{metric.rpartition('/')[2]}",
            f"Transfer: test {METRIC_NAMES[metric]} by the data set that is classified",
            f"{MEAN} The column is the data set that is classified.",
            _of(metric, numbers),
            _pivot(numbers, keys, "data", sorted(set(made["data"])), metric),
        )
        for metric in MAIN
    ]


def select_transfer_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Of encoders that were pretrained, those runs whose like were used on another data set."""
    made = rows[rows["source"] != ""]
    across = (made["source"] != made["dataset"]).groupby([made[key] for key in _LIKE]).transform("any")
    return made[across]


def build_recall_tables(rows: pd.DataFrame) -> list[Table]:
    """Each class's recall, a table for each data set and its classes."""
    tables: list[Table] = []
    for (data, _), group in rows.groupby(["data", "classes"]):
        classes = tuple(map(str, group["classes"].iloc[0]))
        metrics = [f"test/recall/{k}" for k in range(len(classes))]
        if not any(metric in group and group[metric].notna().any() for metric in metrics):
            continue
        numbers = _sort_rows(mean_over_seeds(group, _GROUP, metrics), group)
        shown = pd.DataFrame({"encoder": numbers["encoder"], "method": numbers["method"], "labels": numbers["budget"]})
        for k, (name, metric) in enumerate(zip(classes, metrics, strict=True)):
            shown[name if name not in shown else f"{name} (class {k})"] = _format_means(numbers, metric)
        renamed = {f"{metric} {part}": f"{name} {part}" for name, metric in zip(classes, metrics, strict=True)
                   for part in PARTS}  # fmt: skip
        before = sum(other.title.endswith(f": {data}") for other in tables)  # the same set with other classes
        name = f"recall_{data}_{before + 1}" if before else f"recall_{data}"
        tables.append(table(name, f"Recall of each class: {data}", MEAN, numbers.rename(columns=renamed), shown))
    return tables


def select_scored_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that the tables of scores are made of: finished, with a score on the test split.

    Adds ``seen``: the origin that says the same on whatever data set it is used.
    """
    picked = runs[(runs["state"] == "finished") & runs["stage"].isin(SCORED)].copy()
    picked["seen"] = [
        _seen(*words) for words in zip(picked["origin"], picked["source"], picked["variant"], strict=True)
    ]
    return picked


def _seen(origin: str, source: str, variant: str) -> str:
    """An origin that says the same whatever data set it is used on, as ``bloodmnist novel``; with the variant."""
    own = origin.startswith("own ") or " then own " in origin
    return (origin.replace("own", source, 1) if own else origin) + (f" ({variant})" if variant else "")


def _build_budget_tables(rows: pd.DataFrame, name: str, title: str, metrics: Sequence[str]) -> list[Table]:
    """A table a metric: a row a method, a column a budget."""
    if rows.empty:
        return []
    numbers = _sort_rows(mean_over_seeds(rows, _GROUP, metrics), rows)
    keys = {"data": "data set", "encoder": "encoder", "method": "method"}
    return [
        table(
            f"{name}_{metric.rpartition('/')[2]}",
            f"{title}: test {METRIC_NAMES[metric]}",
            f"{MEAN} A column is a label budget.",
            _of(metric, numbers),
            _pivot(numbers, keys, "budget", sort_budgets(rows["budget"]), metric),
        )
        for metric in metrics
    ]


def _pivot(numbers: pd.DataFrame, keys: dict[str, str], across: str, order: Sequence[str], metric: str) -> pd.DataFrame:
    """A row for each combination of the keys, a column for each value of across; a dash where there is no run."""
    texts = numbers.assign(text=_format_means(numbers, metric))
    rows = []
    for key, group in texts.groupby(list(keys), sort=False):
        found = dict(zip(group[across], group["text"], strict=True))
        rows.append(dict(zip(keys.values(), key, strict=True)) | {word: found.get(word, NONE) for word in order})
    return pd.DataFrame(rows, columns=[*keys.values(), *order])


def _of(metric: str, numbers: pd.DataFrame) -> pd.DataFrame:
    """Without the other metrics' columns."""
    return numbers[[name for name in numbers if "/" not in str(name) or str(name).startswith(f"{metric} ")]]


def _format_means(numbers: pd.DataFrame, metric: str) -> list[str]:
    parts = (numbers[f"{metric} mean"], numbers[f"{metric} low"], numbers[f"{metric} runs"])
    return [format_mean(mean, low, runs) for mean, low, runs in zip(*parts, strict=True)]


def _sort_rows(numbers: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """By data set and encoder, methods in their order, budgets from few to all."""
    methods, budgets = sort_methods(rows), sort_budgets(rows["budget"])
    place = numbers.assign(_method=numbers["method"].map(methods.index), _budget=numbers["budget"].map(budgets.index))
    return place.sort_values(["data", "encoder", "_method", "_budget"])[list(numbers)].reset_index(drop=True)


def _mean(group: pd.DataFrame, column: str) -> float:
    return float(group[column].mean()) if column in group else float("nan")
