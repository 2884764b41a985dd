"""How well scores of a classifier detect the images of other data sets (stage.ood)."""

from __future__ import annotations

import pandas as pd

from simclr_med.report.cells import CELL_NOTE, format_cell, summarise_cells
from simclr_med.report.methods import sort_budgets, sort_methods
from simclr_med.report.score_tables import Table, build_table

_SCORES = {"test/ood_mahalanobis": "Mahalanobis", "test/ood_knn": "nearest neighbours", "test/ood_energy": "energy"}
_KEYS = ["data", "encoder", "method", "budget"]


def build_foreign_image_table(tested: pd.DataFrame) -> list[Table]:
    """Return the AUROC of each method against each other data set.

    Args:
        tested: of `tested_runs.select_tested_runs`.
    """
    prefix = "test/ood_energy/"
    others = sorted(name.removeprefix(prefix) for name in tested.columns if str(name).startswith(prefix))
    parts = []
    for other in others:
        metrics = {f"{score}/{other}": score for score in _SCORES}
        runs = tested[tested[f"{prefix}{other}"].notna()]
        if runs.empty:
            continue
        part = summarise_cells(runs, _KEYS, list(metrics)).assign(other=other)
        parts.append(part.rename(columns={name: _rename(name, metrics) for name in part}))
    if not parts:
        return []
    numbers = pd.concat(parts)
    methods, budgets = sort_methods(tested), sort_budgets(tested["budget"])
    ranks = {"_method": numbers["method"].map(methods.index), "_budget": numbers["budget"].map(budgets.index)}
    numbers = numbers.assign(**ranks).sort_values(["data", "other", "encoder", "_budget", "_method"])
    numbers = numbers.drop(columns=list(ranks)).reset_index(drop=True)
    shown = numbers[["data", "other", "encoder", "method"]].rename(columns={"data": "data set", "other": "against"})
    shown = shown.assign(labels=numbers["budget"])
    for score, title in _SCORES.items():
        shown[title] = [format_cell(values, score) for values in numbers.to_dict("records")]
    note = (
        "AUROC of a score that should be higher for test images of the other data set (out-of-distribution detection). "
        f"{CELL_NOTE} Mahalanobis: distance of the features to the nearest class mean (Lee et al. 2018); nearest "
        "neighbours: distance to a training image (Sun et al. 2022); energy of the logits (Liu et al. 2020). 0.5 is "
        "chance; below 0.5, the data set's own images have the higher scores. Images of another size or number of "
        "channels were converted to those of the data set. The conversion alone can increase their scores."
    )
    return [build_table("foreign_images", "Images of other data sets", note, numbers, shown)]


def _rename(name: str, metrics: dict[str, str]) -> str:
    """Return a column without the name of the other data set: ``test/ood_knn mean``."""
    metric, _, part = name.rpartition(" ")
    return f"{metrics[metric]} {part}" if metric in metrics else name
