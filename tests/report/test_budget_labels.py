"""Label budgets in words, and budgets that count other labels apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simclr_med.report.budgets import count_labels, describe_missing_classes, label_budgets
from simclr_med.report.collect import collect_runs
from simclr_med.report.methods import sort_budgets
from simclr_med.report.results import read_result
from simclr_med.report.score_tables import build_label_efficiency_tables, select_scored_runs

Add = Callable[..., Path]


def split(config: dict[str, Any]) -> None:
    config["data_fraction"]["validation"] = "split"


def record(folder: Path, **metrics: float) -> None:
    """Change what a run recorded."""
    path = folder / "result.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metrics"] |= metrics
    path.write_text(json.dumps(content), encoding="utf-8")


def rows(*budgets: tuple[str, float | None]) -> pd.DataFrame:
    return pd.DataFrame([{"data": "cells", "budget": budget, "val/images": count} for budget, count in budgets])


@pytest.mark.parametrize(
    ("budget", "counts", "expected"),
    [
        ("n50", (0,), "n50"),
        ("n50", (12, 13), "n50"),
        ("n50 split", (120,), "n50 (+120 for choices)"),
        ("n50 split", (78, 10004), "n50 (+78 to 10,004 for choices)"),
        ("n50 split", (None,), "n50 (+ validation split for choices)"),
        ("n50 split", (0,), "n50"),
        ("full", (250,), "full (+250 for choices)"),
        ("full", (None,), "full"),
        ("full within", (25,), "full, chosen within"),
    ],
)
def test_a_budget_reads_as_the_labels_that_it_counts(budget: str, counts, expected: str) -> None:
    assert label_budgets(rows(*((budget, count) for count in counts))) == {budget: expected}


def test_budgets_are_in_the_order_of_their_labels() -> None:
    budgets = ["full", "n100", "n50 split", "n50", "pct10", "per_class10", "full within"]
    ordered = ["per_class10", "n50", "n50 split", "n100", "pct10", "full", "full within"]
    assert sort_budgets(budgets) == ordered


def test_labels_are_counted_for_training_and_for_choices() -> None:
    table = pd.DataFrame(
        {"train/images": [75, 50, 50], "val/images": [25, 120, None], "budget/labels": [100, None, None]}
    )
    assert count_labels(table).tolist() == [100, 170, 50]
    assert count_labels(table[["train/images"]]).tolist() == [75, 50, 50]


def test_runs_within_and_split_are_never_averaged(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        record(add("probe", seed=seed, quality=0.5), **{"val/images": 0})
        record(add("probe", seed=seed, quality=3.0, change=split), **{"val/images": 120})
        record(add("probe", budget="full", seed=seed), **{"val/images": 120})
    scored = select_scored_runs(collect_runs(runs).table)
    assert set(scored["budget"]) == {"n50", "n50 split", "full"}
    own = scored[scored["budget"] != "n50 split"]
    assert set(own["method"]) == {"untrained control"}, "a curve of budgets may end with the full split"
    assert set(scored["method"]) - set(own["method"]) == {"untrained control (data_fraction.validation=split)"}
    shown = build_label_efficiency_tables(scored)[0].shown
    assert list(shown.columns)[-3:] == ["n50", "n50 (+120 for choices)", "full (+120 for choices)"]


def test_a_run_of_protocol_1_chose_on_the_validation_split(add: Add) -> None:
    folder = add("probe", change=lambda config: config["data_fraction"].pop("validation"))
    assert read_result(folder).budget == "n50 split"
    full = add("probe", budget="full", change=lambda config: config["data_fraction"].pop("validation"))
    assert read_result(full).budget == "full"


def test_random_weights_have_the_seed_that_made_them(add: Add) -> None:
    init = {"name": "random", "seed": 4}
    assert read_result(add("probe", seed=1, init=init, protocol_version=2)).init.seed == 4
    assert read_result(add("probe", seed=2, init=init, protocol_version=1)).init.seed == 2, "init.seed was not used"


def test_budgets_that_miss_a_class_are_told() -> None:
    table = rows(("n50", 0), ("n50", 0), ("n100", 0)).assign(**{"train/missing_classes": [2, 0, 0]})
    (sentence,) = describe_missing_classes(table)
    assert sentence.startswith("cells, n50: 1 of 2 runs have no training image of at least one class (of 2 classes at")
    assert describe_missing_classes(rows(("n50", 0))) == []
