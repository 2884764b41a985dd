"""The report's tables of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from simclr_med.report.budgets import label_budgets
from simclr_med.report.cells import CELL_NOTE, NONE, PARTS, format_cell, summarise_cells
from simclr_med.report.methods import SCORED, sort_budgets, sort_methods

METRIC_NAMES = {
    "test/accuracy": "accuracy",
    "test/auroc": "AUROC",
    "test/balanced_accuracy": "balanced accuracy",
    "test/macro_f1": "macro F1",
    "val/knn_accuracy": "validation kNN accuracy",
    "val/probe_auroc": "validation probe AUROC",
}
MAIN = ("test/accuracy", "test/auroc")
VALIDATION = "val/auroc"
_TRANSFER_KEYS = ["kind", "encoder", "budget", "sequence"]
_METHOD_KEYS = ["data", "encoder", "method", "budget"]


@dataclass(frozen=True)
class Table:
    """One table in two forms.

    Attributes:
        name: of its files.
        title: above it.
        note: explains its cells.
        numbers: unrounded numbers, one column per quantity, for the CSV.
        shown: formatted text, for the page, Markdown and LaTeX.
    """

    name: str
    title: str
    note: str
    numbers: pd.DataFrame
    shown: pd.DataFrame


def build_table(name: str, title: str, note: str, numbers: pd.DataFrame, shown: pd.DataFrame) -> Table:
    """Return a table; an encoder that all rows share moves from its column to the note."""
    encoders = set(shown["encoder"]) if "encoder" in shown else set()
    if len(encoders) == 1:
        return Table(name, title, f"{note} Encoder: {encoders.pop()}.", numbers, shown.drop(columns="encoder"))
    return Table(name, title, note, numbers, shown)


def format_number(value: float, digits: int = 3) -> str:
    """Return a rounded number, or a dash for NaN."""
    return NONE if np.isnan(value) else f"{value:.{digits}f}"


def build_label_efficiency_tables(rows: pd.DataFrame) -> list[Table]:
    """Return a table per metric: every method with every budget that is not a number of images per class."""
    selected = rows[~rows["budget"].str.startswith("per_class")]
    return _build_budget_tables(selected, "label_efficiency", "Label efficiency", MAIN)


def build_class_balance_tables(rows: pd.DataFrame) -> list[Table]:
    """Return a table per metric: every method with the budgets of equally many images per class."""
    selected = rows[rows["budget"].str.startswith("per_class")]
    metrics = (*MAIN, "test/balanced_accuracy", "test/macro_f1")
    return _build_budget_tables(selected, "class_balance", "Equal number of images per class", metrics)


def build_ablation_tables(rows: pd.DataFrame) -> list[Table]:
    """Return a table per metric that compares the pretraining augmentations of a data set's own encoders.

    The validation AUROC stands beside the test scores, and the method is marked that it chooses under each budget.
    """
    selected = select_ablation_runs(rows)
    tables = _build_budget_tables(selected, "ablation", "Pretraining augmentation", MAIN)
    return [_add_validation(table, selected) for table in tables]


def select_ablation_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the runs on encoders pretrained on the data set alone, where several augmentations exist."""
    own = rows[rows["origin"] == "own " + rows["sequence"]]
    several = own.groupby(["data", "encoder", "kind"])["sequence"].transform("nunique") > 1
    return own[several]


def build_transfer_tables(rows: pd.DataFrame) -> list[Table]:
    """Return a table per metric: the pretraining data set (rows) against the classified data set (columns)."""
    runs = select_transfer_runs(rows)
    if runs.empty:
        return []
    numbers = summarise_cells(runs, ["kind", "encoder", "budget", "seen", "data"], MAIN)
    numbers["_budget"] = numbers["budget"].map(sort_budgets(runs["budget"]).index)
    numbers = numbers.sort_values(["kind", "encoder", "_budget", "seen", "data"]).drop(columns="_budget")
    keys = {"kind": "method", "encoder": "encoder", "budget": "labels", "seen": "pretrained on"}
    return [
        build_table(
            f"transfer_{metric.rpartition('/')[2]}",
            f"Transfer: test {METRIC_NAMES[metric]}",
            f"{CELL_NOTE} Each column is the data set that is classified.",
            _select_metric(metric, numbers),
            _pivot(numbers, keys, "data", sorted(set(runs["data"])), metric).replace({"labels": label_budgets(runs)}),
        )
        for metric in MAIN
    ]


def select_transfer_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the runs on pretrained encoders whose method was also used on another data set."""
    pretrained = rows[rows["source"] != ""]
    is_other = pretrained["source"] != pretrained["dataset"]
    return pretrained[is_other.groupby([pretrained[key] for key in _TRANSFER_KEYS]).transform("any")]


def build_recall_tables(rows: pd.DataFrame) -> list[Table]:
    """Return a table of the recall of every class for each data set."""
    tables: list[Table] = []
    for (data, _), group in rows.groupby(["data", "classes"]):
        classes = tuple(map(str, group["classes"].iloc[0]))
        metrics = [f"test/recall/{k}" for k in range(len(classes))]
        if not any(metric in group and group[metric].notna().any() for metric in metrics):
            continue
        numbers = _sort_rows(summarise_cells(group, _METHOD_KEYS, metrics), group)
        shown = pd.DataFrame({"encoder": numbers["encoder"], "method": numbers["method"], "labels": numbers["budget"]})
        shown["labels"] = shown["labels"].replace(label_budgets(group))
        for k, (name, metric) in enumerate(zip(classes, metrics, strict=True)):
            shown[name if name not in shown else f"{name} (class {k})"] = _format_means(numbers, metric)
        renamed = {
            f"{metric} {part}": f"{name} {part}"
            for name, metric in zip(classes, metrics, strict=True)
            for part in PARTS
        }
        earlier = sum(other.title.endswith(f": {data}") for other in tables)  # the same data set with other classes
        name = f"recall_{data}_{earlier + 1}" if earlier else f"recall_{data}"
        title = f"Recall of each class: {data}"
        tables.append(build_table(name, title, CELL_NOTE, numbers.rename(columns=renamed), shown))
    return tables


def select_scored_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs that have a score on the test split.

    Adds ``seen``: the pretraining with the data set's name instead of ``own``, so that all data sets share it; and
    ``share``: of the data set's training images in a label subset; 0 where a run uses all, and where no run does.
    """
    scored = runs[(runs["state"] == "finished") & runs["stage"].isin(SCORED)].copy()
    scored["seen"] = [
        _name_pretraining(*values) for values in zip(scored["origin"], scored["source"], scored["variant"], strict=True)
    ]
    train = _get_column(scored, "train/images")
    full = runs[(runs["state"] == "finished") & (runs["budget"] == "full")]
    pools = _get_column(full, "train/images").groupby(full["data"]).max()
    share = (train / scored["data"].map(pools).astype(np.float64)).fillna(0.0)
    scored["share"] = share.where(share < 1, 0.0)
    return scored


def _get_column(table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of numbers; NaN where no run has it."""
    return table[name] if name in table else pd.Series(np.nan, index=table.index, dtype=np.float64)


def _name_pretraining(origin: str, source: str, variant: str) -> str:
    """Return the pretraining with the data set's name instead of ``own``, such as ``bloodmnist novel``."""
    is_own = origin.startswith("own ") or " then own " in origin
    return (origin.replace("own", source, 1) if is_own else origin) + (f" ({variant})" if variant else "")


def _build_budget_tables(rows: pd.DataFrame, name: str, title: str, metrics: Sequence[str]) -> list[Table]:
    """Return a table per metric with a row per method and a column per budget."""
    if rows.empty:
        return []
    numbers = _sort_rows(summarise_cells(rows, _METHOD_KEYS, metrics), rows)
    keys = {"data": "data set", "encoder": "encoder", "method": "method"}
    return [
        build_table(
            f"{name}_{metric.rpartition('/')[2]}",
            f"{title}: test {METRIC_NAMES[metric]}",
            f"{CELL_NOTE} Each column is a label budget.",
            _select_metric(metric, numbers),
            _pivot(numbers, keys, "budget", sort_budgets(rows["budget"]), metric).rename(columns=label_budgets(rows)),
        )
        for metric in metrics
    ]


def _add_validation(table: Table, rows: pd.DataFrame) -> Table:
    """Return the table with the mean validation AUROC of each budget; without runs that recorded it, the same."""
    if VALIDATION not in rows or rows[VALIDATION].isna().all():
        return table
    keys = ["data", "encoder", "kind", "budget"]
    means = rows.groupby([*keys, "method"])[VALIDATION].mean().dropna()
    best = set(means.groupby(keys).idxmax())
    kinds = dict(zip(rows["method"], rows["kind"], strict=True))
    shown, names = table.shown.copy(), label_budgets(rows)
    encoder = rows["encoder"].iloc[0]  # of all rows, where the table has no such column
    for budget in sort_budgets(rows["budget"]):
        cells = []
        for row in shown.to_dict("records"):
            key = (row["data set"], row.get("encoder", encoder), kinds[row["method"]], budget, row["method"])
            mark = " (chosen)" if key in best else ""
            cells.append(f"{means[key]:.3f}{mark}" if key in means.index else NONE)
        shown[f"validation AUROC, {names[budget]}"] = cells
    note = (
        f"{table.note} “chosen” marks the augmentation with the highest mean validation AUROC of its data set, method "
        "and budget: the choice that uses no test score."
    )
    return replace(table, note=note, shown=shown)


def _pivot(numbers: pd.DataFrame, keys: dict[str, str], across: str, order: Sequence[str], metric: str) -> pd.DataFrame:
    """Return a row for each combination of the keys and a column for each value of across; a dash without runs."""
    texts = numbers.assign(text=_format_means(numbers, metric))
    rows = []
    for key, group in texts.groupby(list(keys), sort=False):
        cells = dict(zip(group[across], group["text"], strict=True))
        rows.append(dict(zip(keys.values(), key, strict=True)) | {value: cells.get(value, NONE) for value in order})
    return pd.DataFrame(rows, columns=[*keys.values(), *order])


def _select_metric(metric: str, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the columns of other metrics."""
    return numbers[[name for name in numbers if "/" not in str(name) or str(name).startswith(f"{metric} ")]]


def _format_means(numbers: pd.DataFrame, metric: str) -> list[str]:
    return [format_cell(values, metric) for values in numbers.to_dict("records")]


def _sort_rows(numbers: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by data set, encoder, method and budget."""
    methods, budgets = sort_methods(rows), sort_budgets(rows["budget"])
    ranks = {"_method": numbers["method"].map(methods.index), "_budget": numbers["budget"].map(budgets.index)}
    ordered = numbers.assign(**ranks).sort_values(["data", "encoder", "_method", "_budget"])
    return ordered[list(numbers)].reset_index(drop=True)
