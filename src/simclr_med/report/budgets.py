"""Label budgets in words: how many labels the results under each budget used, for training and for choices."""

from __future__ import annotations

import pandas as pd

TRAINED, CHOSEN_BY, USED = "train/images", "val/images", "budget/labels"
MISSING = "train/missing_classes"


def count_labels(rows: pd.DataFrame) -> pd.Series:
    """Return the labels that each run used, for training and for choices.

    A run of protocol version 1 recorded only those for training.
    """
    empty = pd.Series(float("nan"), rows.index)
    trained = rows.get(TRAINED, empty) + rows.get(CHOSEN_BY, empty).fillna(0)
    return rows.get(USED, empty).fillna(trained)


def describe_budget(budget: str) -> str:
    """Return a label budget in plain words: ``50 labels``, ``10 % of the labels``, ``all labels``."""
    name, _, validation = budget.partition(" ")
    chosen = {"split": ", chosen on the validation split", "within": ", chosen within"}.get(validation, "")
    if name == "full":
        return f"all labels{chosen}"
    for prefix, words in (("per_class", "{} labels a class"), ("pct", "{} % of the labels"), ("n", "{} labels")):
        number = name.removeprefix(prefix)
        if number != name:
            return words.format(f"{int(number):,}" if number.isdigit() else number) + chosen
    return budget


def label_budgets(rows: pd.DataFrame) -> dict[str, str]:
    """Return each budget of these runs as tables and figures show it.

    A budget that counts all labels has its name: ``n50``. Further labels are added: ``n50 (+120 for choices)``, or
    their range over data sets.

    Args:
        rows: of `collect.to_row`, with the columns ``budget`` and ``val/images``.
    """
    return {str(budget): _label_budget(str(budget), group) for budget, group in rows.groupby("budget")}


def _label_budget(budget: str, rows: pd.DataFrame) -> str:
    name, _, validation = budget.partition(" ")
    is_split = validation == "split" or (name == "full" and not validation)
    counts = sorted({int(count) for count in rows.get(CHOSEN_BY, pd.Series(dtype=float)).dropna()})
    if validation == "within" or not is_split or counts == [0]:
        return name if validation != "within" else f"{name}, chosen within"
    if not counts:
        return f"{name} (+ validation split for choices)" if validation else name
    numbers = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"{name} (+{numbers} for choices)"


def describe_missing_classes(rows: pd.DataFrame) -> list[str]:
    """Return a sentence for each budget of a data set with runs that lack training images of a class."""
    if MISSING not in rows:
        return []
    sentences = []
    for (data, budget), group in rows.groupby(["data", "budget"]):
        lacking = group[group[MISSING] > 0]
        if len(lacking):
            sentences.append(
                f"{data}, {budget}: {len(lacking)} of {len(group)} runs have no training image of at least one class "
                f"(of {lacking[MISSING].max():.0f} classes at most). Their scores of these classes mean nothing and "
                "pull AUROC towards 0.5."
            )
    return sentences
