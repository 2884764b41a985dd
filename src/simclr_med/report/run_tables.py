"""The report's tables about the runs themselves: computation time, pretraining, and runs that are missing or failed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from simclr_med.report.cells import NONE
from simclr_med.report.methods import SCORED, sort_budgets, sort_methods
from simclr_med.report.score_tables import METRIC_NAMES, Table, build_table, format_number

MOST_SENTENCES = 5  # about single runs, above the results of the page


def build_cost_table(table: pd.DataFrame) -> list[Table]:
    """Return the hours and images per second of the finished runs by stage, data set and encoder."""
    finished = table[(table["state"] == "finished") & table["wall_s"].notna()]
    if finished.empty:
        return []
    groups = finished.groupby(["stage", "data", "encoder"], sort=True)
    numbers = groups.agg(
        runs=("wall_s", "size"),
        hours=("wall_s", lambda seconds: seconds.sum() / 3600),
        minutes_a_run=("wall_s", lambda seconds: seconds.mean() / 60),
        images_per_s=("images_per_s", "median"),
        measured=("energy_kwh", "count"),
        energy_kwh=("energy_kwh", "sum"),
        co2e_kg=("co2e_kg", "sum"),
    ).reset_index()
    shown = pd.DataFrame(
        {
            "stage": numbers["stage"],
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "runs": numbers["runs"].astype(str),
            "total hours": [f"{hours:.2f}" for hours in numbers["hours"]],
            "minutes per run": [f"{minutes:.2f}" for minutes in numbers["minutes_a_run"]],
            "images/s": [format_number(rate, 0) for rate in numbers["images_per_s"].astype(float)],
        }
    )
    note = (
        "Hours are wall-clock time as each run recorded it; runs on different machines are not comparable. images/s is "
        "the median training rate over the runs. A probe has none, because its features are extracted once for all "
        "budgets."
    )
    if numbers["measured"].any():
        shown["kWh"], shown["kg CO2e"] = (
            [_format_sum(total, row) for total, row in zip(numbers[name], numbers.to_dict("records"), strict=True)]
            for name in ("energy_kwh", "co2e_kg")
        )
        note += (
            " kWh and CO2e are the sums that codecarbon estimated for the processes of the runs with trainer.energy; "
            "they are rough on CPUs, and of a resumed run they cover only the part since its last start."
        )
    else:
        numbers = numbers.drop(columns=["measured", "energy_kwh", "co2e_kg"])
    return [build_table("cost", "Computation time", note, numbers, shown)]


def _format_sum(total: float, row: Mapping[Any, Any]) -> str:
    """Return a sum over runs, with their number if not all have a value; a dash if none has."""
    if not row["measured"]:
        return NONE
    return f"{total:.3g}" + (f" ({row['measured']} runs)" if row["measured"] < row["runs"] else "")


def build_unfinished_table(table: pd.DataFrame) -> list[Table]:
    """Return the failed and the unfinished runs."""
    rest = table[table["state"] != "finished"].sort_values(["state", "stage", "data", "method", "budget", "seed"])
    if rest.empty:
        return []
    shown = pd.DataFrame(
        {
            "state": rest["state"],
            "stage": rest["stage"],
            "data set": rest["data"],
            "method": rest["method"],
            "labels": rest["budget"],
            "seed": rest["seed"].astype(str),
            "error": rest["message"],
            "folder": [str(folder) for folder in rest["folder"]],
        }
    ).reset_index(drop=True)
    note = "These runs are excluded from all results above. Repeat a run's command to resume it."
    return [build_table("unfinished", "Failed and unfinished runs", note, shown, shown)]


def build_missing_table(table: pd.DataFrame) -> list[Table]:
    """Return the runs that a complete comparison lacks: every method with the budgets of its kind, and every seed.

    Probes are expected to have the budgets of probes, the stages that train those of each other. These are not
    expected to have the seeds of probes either: a probe takes seconds, so a study may ask for more of them.

    Budgets of a number of images per class are expected only of methods that have a run with such a budget, and the
    other budgets only of methods that have a run with one of those.
    """
    rows = table[table["stage"].isin(SCORED)].copy()
    rows["is_per_class"] = rows["budget"].str.startswith("per_class")
    missing = []
    for (data, encoder, _), group in rows.groupby(["data", "encoder", "is_per_class"]):
        for method in sort_methods(group):
            own = group[group["method"] == method]
            finished = own[own["state"] == "finished"]
            is_probe = "probe" in set(own["stage"])
            trained = group[group["stage"] != "probe"]
            seeds = sorted(set((group if is_probe else trained)["seed"]))
            for budget in sort_budgets((group[group["stage"] == "probe"] if is_probe else trained)["budget"]):
                lacking = sorted(set(seeds) - set(finished[finished["budget"] == budget]["seed"]))
                if lacking:
                    text = "all" if lacking == seeds else f"seed {', '.join(map(str, lacking))}"
                    missing.append((data, encoder, method, budget, text))
    if not missing:
        return []
    shown = pd.DataFrame(missing, columns=["data set", "encoder", "method", "labels", "missing"])
    note = (
        "A complete comparison has every probe with every label budget of the probes of its data set and every seed, "
        "and finetune and baseline with the budgets and seeds of each other. The runs listed here are not finished or "
        "do not exist."
    )
    return [build_table("missing", "Missing runs", note, shown, shown)]


def describe_fallen_pretraining(table: pd.DataFrame) -> list[str]:
    """Return a sentence for each finished pretraining run whose monitors ended below their values before it."""
    rows = table[(table["state"] == "finished") & (table["stage"] == "pretrain")]
    sentences = []
    for row in rows.sort_values(["data", "encoder", "augmentation", "seed"]).to_dict("records"):
        fallen = [
            f"{METRIC_NAMES[name]} {row[name]:.3f} (before: {row[f'{name}_before']:.3f})"
            for name in ("val/knn_accuracy", "val/probe_auroc")
            if row.get(name, math.nan) < row.get(f"{name}_before", math.nan)
        ]
        if fallen:
            run = f"{row['data']}, {row['method']}, {row['encoder']}, seed {row['seed']}"
            sentences.append(f"Pretraining ended below its start: {run}: {' and '.join(fallen)}.")
    if len(sentences) > MOST_SENTENCES:
        more = len(sentences) - MOST_SENTENCES
        return [*sentences[:MOST_SENTENCES], f"{more} more pretraining runs ended below their start."]
    return sentences


def build_pretraining_table(table: pd.DataFrame) -> list[Table]:
    """Return the finished pretraining runs with the metrics of their last epoch."""
    rows = table[(table["state"] == "finished") & (table["stage"] == "pretrain")]
    if rows.empty:
        return []
    metrics = {
        "train/loss": "loss",
        "train/top1": "contrastive accuracy",
        "train/effective_rank": "effective rank",
        "train/alignment": "alignment",
        "train/uniformity": "uniformity",
        "val/knn_accuracy": METRIC_NAMES["val/knn_accuracy"],
        "val/knn_accuracy_before": "validation kNN accuracy before pretraining",
        "val/probe_auroc": METRIC_NAMES["val/probe_auroc"],
        "val/probe_auroc_before": "validation probe AUROC before pretraining",
    }
    numbers = rows[["data", "encoder", "augmentation", "method", "seed", *(name for name in metrics if name in rows)]]
    numbers = numbers.sort_values(["data", "encoder", "augmentation", "seed"]).reset_index(drop=True)
    shown = numbers[["data", "encoder"]].rename(columns={"data": "data set"})
    shown["augmentation"] = numbers["method"].str.removeprefix("pretrain, ")
    shown["seed"] = numbers["seed"].astype(str)
    for name, title in metrics.items():
        if name in numbers:
            shown[title] = [format_number(value) for value in numbers[name]]
    return [build_table("pretraining", "Pretraining runs: last epoch", "One row per run.", numbers, shown)]


def build_rescored_table(table: pd.DataFrame) -> list[Table]:
    """Return the scores of stage=test: saved classifiers on a test split, of their own or another data set."""
    rows = table[(table["state"] == "finished") & (table["stage"] == "test") & table["model"].notna()]
    if rows.empty:
        return []
    numbers = pd.DataFrame(
        {
            "classifier": [f"{stage} of {dataset}" for stage, dataset in rows["model"]],
            "data": list(rows["data"]),
            "run": [folder.name for folder in rows["folder"]],
            "test/accuracy": list(rows["test/accuracy"]),
            "test/auroc": list(rows["test/auroc"]) if "test/auroc" in rows else float("nan"),
        }
    )
    shown = pd.DataFrame(
        {
            "classifier": numbers["classifier"],
            "test data": numbers["data"],
            "run": numbers["run"],
            "accuracy": [format_number(value) for value in numbers["test/accuracy"]],
            "AUROC": [format_number(value) for value in numbers["test/auroc"]],
        }
    )
    return [build_table("scored_again", "Saved classifiers (stage=test)", "One row per run.", numbers, shown)]
