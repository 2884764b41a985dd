"""The model to use: chosen by its validation score, never by a test score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from simclr_med.report.budgets import count_labels, describe_budget
from simclr_med.report.methods import drop_selected

CHOSEN_BY = "val/auroc"


@dataclass(frozen=True)
class ChosenModel:
    """The run with the best validation score.

    Attributes:
        method, budget, seed, folder: of the run.
        validation: its score.
        means: (method, mean score of its runs) of all methods with this budget, the best first.
        test, interval: test AUROC of the run with its interval, which the choice did not use; NaN where not recorded.
    """

    method: str
    budget: str
    seed: int
    folder: Path
    validation: float
    means: tuple[tuple[str, float], ...]
    test: float
    interval: tuple[float, float]


def choose_model(rows: pd.DataFrame) -> ChosenModel | None:
    """Return the best run of the method with the best mean validation AUROC; None where no run recorded one.

    Only the runs with the budget of the most labels are compared: their validation images are the same, and no model
    has more to learn from.

    Args:
        rows: of `score_tables.select_scored_runs`, of one data set and encoder.
    """
    if CHOSEN_BY not in rows:
        return None
    # Cross-validated scores of selected images do not hold for other images.
    known = drop_selected(rows[rows[CHOSEN_BY].notna()])
    if known.empty:
        return None
    budget = count_labels(known).groupby(known["budget"]).mean().idxmax()
    largest = known[known["budget"] == budget]
    means = largest.groupby("method")[CHOSEN_BY].mean().sort_values(ascending=False, kind="stable")
    runs = largest[largest["method"] == means.index[0]].sort_values([CHOSEN_BY, "seed"], ascending=[False, True])
    run = runs.iloc[0].to_dict()
    return ChosenModel(
        method=str(means.index[0]),
        budget=str(budget),
        seed=int(run["seed"]),
        folder=Path(run["folder"]),
        validation=float(run[CHOSEN_BY]),
        means=tuple((str(method), float(mean)) for method, mean in means.items()),
        test=float(run.get("test/auroc", float("nan"))),
        interval=run["intervals"].get("test/auroc", (float("nan"), float("nan"))),
    )


def describe_choice(chosen: ChosenModel) -> list[str]:
    """Return the model with its folder, then why it was chosen and how to use it, as sentences."""
    best, *others = chosen.means
    reason = f"“{best[0]}” has the highest mean validation AUROC with {describe_budget(chosen.budget)} ({best[1]:.3f}"
    reason += "".join(f"; “{method}”: {mean:.3f}" for method, mean in others)
    sentences = [
        f"“{chosen.method}” with {describe_budget(chosen.budget)}. Its run with the best validation AUROC "
        f"({chosen.validation:.3f}): {chosen.folder}",
        f"{reason}). Of its runs, this one (seed {chosen.seed}) has the highest: {chosen.validation:.3f}.",
    ]
    if not math.isnan(chosen.test):
        low, high = chosen.interval
        interval = "" if math.isnan(low) else f" ({low:.3f} to {high:.3f} over test images)"
        sentences.append(f"Its test AUROC, which the choice did not use, is {chosen.test:.3f}{interval}.")
    use = f"simclr-med stage=predict stage.run={chosen.folder} dataset=folder dataset.path=<your images>"
    return [*sentences, f"Use it: {use}"]
