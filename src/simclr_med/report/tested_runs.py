"""Runs of stage=test with the names of the classifiers that they scored."""

from __future__ import annotations

import pandas as pd

# What a test run takes over from the run that made its classifier.
_OF_CLASSIFIER = ("kind", "origin", "method", "budget", "seed", "start", "share", "encoder")
FAMILY = "family"


def select_tested_runs(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs of stage=test whose classifier's run is among the rows.

    Method, budget, seed and encoder are the classifier's; the data set is the one whose images were scored. Where it is
    not the classifier's own, the method says so.

    Args:
        table: of `collect.collect_runs`.
        rows: of `score_tables.select_scored_runs`.
    """
    classifiers = {
        (row["stage"], row["dataset"], row["folder"].name): row for row in rows.sort_index().to_dict("records")
    }
    tested = table[(table["state"] == "finished") & (table["stage"] == "test") & table["model"].notna()]
    records = []
    for row in tested.to_dict("records"):
        classifier = classifiers.get((*row["model"], row["init"].run))
        if classifier is None:
            continue
        taken = {name: classifier[name] for name in _OF_CLASSIFIER}
        if classifier["data"] != row["data"]:
            taken["method"] = f"{taken['method']}, trained on {classifier['data']}"
        for name in ("train/images", "val/images", "budget/labels"):
            taken[name] = classifier.get(name, float("nan"))
        records.append(row | taken)
    tested = pd.DataFrame(records, columns=None if records else [*table.columns, "share"])
    tested[FAMILY] = _name_families(tested)
    return tested


def _name_families(tested: pd.DataFrame) -> list[str | None]:
    """Return the family of each run; runs that gave a family other values have a number after its name."""
    known: dict[str, list[dict[str, str]]] = {}
    names: list[str | None] = []
    for family, settings in zip(tested[FAMILY], tested["settings"], strict=True):
        if not isinstance(family, str):
            names.append(None)
            continue
        values = {key: value for key, value in settings.items() if key.startswith(f"stage.families.{family}.")}
        others = known.setdefault(family, [])
        if values not in others:
            others.append(values)
        names.append(family if others[0] == values else f"{family} ({others.index(values) + 1})")
    return names
