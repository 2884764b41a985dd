"""The report's tables about the runs themselves: what they cost, what is missing, what failed."""

from __future__ import annotations

import pandas as pd

from simclr_med.report.methods import SCORED, budget_order, method_order
from simclr_med.report.score_tables import Table, format_number
from simclr_med.report.score_tables import table as made


def cost(table: pd.DataFrame) -> list[Table]:
    """Hours and images a second of the finished runs, by what was done."""
    done = table[(table["state"] == "finished") & table["wall_s"].notna()]
    if done.empty:
        return []
    groups = done.groupby(["stage", "data", "encoder"], sort=True)
    numbers = groups.agg(
        runs=("wall_s", "size"),
        hours=("wall_s", lambda seconds: seconds.sum() / 3600),
        minutes_a_run=("wall_s", lambda seconds: seconds.mean() / 60),
        images_per_s=("images_per_s", "median"),
    ).reset_index()
    shown = pd.DataFrame(
        {
            "stage": numbers["stage"],
            "data set": numbers["data"],
            "encoder": numbers["encoder"],
            "runs": numbers["runs"].astype(str),
            "hours in all": [f"{hours:.2f}" for hours in numbers["hours"]],
            "minutes a run": [f"{minutes:.2f}" for minutes in numbers["minutes_a_run"]],
            "images/s": [format_number(rate, 0) for rate in numbers["images_per_s"].astype(float)],
        }
    )
    note = (
        "Hours are of the clock, as each run measured itself, on whatever machine it ran. images/s: median over the "
        "runs, of training; a probe has none, since its features are computed once for all budgets."
    )
    return [made("cost", "What the runs cost", note, numbers, shown)]


def ended_early(table: pd.DataFrame) -> list[Table]:
    """Runs that failed, and runs that were begun and not finished."""
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
            "why": rest["message"],
            "folder": [str(folder) for folder in rest["folder"]],
        }
    ).reset_index(drop=True)
    note = "None of these is in any number above. The command that began a run goes on with it."
    return [made("unfinished", "Failed and unfinished runs", note, shown, shown)]


def missing(table: pd.DataFrame) -> list[Table]:
    """Cells that would make the comparison whole: every method under every budget and seed seen on its data set.

    Budgets of so many images a class are expected of a method only when it has one of them; the others likewise.
    """
    rows = table[table["stage"].isin(SCORED)].copy()
    rows["family"] = rows["budget"].str.startswith("per_class")
    found = []
    for (data, encoder, _), group in rows.groupby(["data", "encoder", "family"]):
        seeds, budgets = sorted(set(group["seed"])), budget_order(group["budget"])
        for method in method_order(group):
            mine = group[group["method"] == method]
            done = mine[mine["state"] == "finished"]
            for budget in budgets:
                lacking = sorted(set(seeds) - set(done[done["budget"] == budget]["seed"]))
                if lacking:
                    told = "all" if lacking == seeds else f"seed {', '.join(map(str, lacking))}"
                    found.append((data, encoder, method, budget, told))
    if not found:
        return []
    shown = pd.DataFrame(found, columns=["data set", "encoder", "method", "labels", "missing"])
    note = "Every method under every budget and every seed that its data set has seen; these are not finished."
    return [made("missing", "Missing cells", note, shown, shown)]


def pretraining(table: pd.DataFrame) -> list[Table]:
    """The finished pretraining runs and their monitors at the end."""
    rows = table[(table["state"] == "finished") & (table["stage"] == "pretrain")]
    if rows.empty:
        return []
    metrics = {
        "train/loss": "loss",
        "train/top1": "contrastive accuracy",
        "train/effective_rank": "effective rank",
        "train/alignment": "alignment",
        "train/uniformity": "uniformity",
        "val/knn_accuracy": "kNN accuracy on validation",
        "val/knn_accuracy_before": "the same before",
    }
    numbers = rows[["data", "encoder", "augmentation", "method", "seed", *(name for name in metrics if name in rows)]]
    numbers = numbers.sort_values(["data", "encoder", "augmentation", "seed"]).reset_index(drop=True)
    shown = numbers[["data", "encoder"]].rename(columns={"data": "data set"})
    shown["augmentation"] = numbers["method"].str.removeprefix("pretrain, ")
    shown["seed"] = numbers["seed"].astype(str)
    for name, word in metrics.items():
        if name in numbers:
            shown[word] = [format_number(value) for value in numbers[name]]
    return [made("pretraining", "Pretraining runs at their end", "One row a run.", numbers, shown)]


def scored_again(table: pd.DataFrame) -> list[Table]:
    """Saved classifiers on a test split: their own again, or another data set's (stage=test)."""
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
            "scored on": numbers["data"],
            "run": numbers["run"],
            "accuracy": [format_number(value) for value in numbers["test/accuracy"]],
            "AUROC": [format_number(value) for value in numbers["test/auroc"]],
        }
    )
    return [made("scored_again", "Saved classifiers scored again", "One row a run.", numbers, shown)]
