"""Every number of a table equals the value computed from the runs' predictions.npz."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn, pretrained
from scipy import stats

from simclr_med.metrics import classification
from simclr_med.report import run_tables
from simclr_med.report.collect import Collection, collect_runs
from simclr_med.report.score_figures import plot_ablation
from simclr_med.report.score_tables import (
    build_ablation_tables,
    build_class_balance_tables,
    build_label_efficiency_tables,
    build_recall_tables,
    build_transfer_tables,
    format_mean,
    select_scored_runs,
)

Add = Callable[..., Path]


@pytest.fixture(scope="module")
def collection(study: Path) -> Collection:
    return collect_runs(study)


def compute_mean(
    collection: Collection, data: str, method: str, budget: str, score: Callable[..., float]
) -> tuple[float, float]:
    """Return the mean and half the interval over the runs' predictions.npz."""
    table = collection.table
    rows = table[(table["data"] == data) & (table["method"] == method) & (table["budget"] == budget)]
    values = []
    for folder in rows[rows["state"] == "finished"]["folder"]:
        with np.load(folder / "predictions.npz") as content:
            values.append(score("multi-class", content["labels"], content["probabilities"]))
    assert len(values) == 3
    interval = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    return float(np.mean(values)), float(interval[1] - np.mean(values))


@pytest.mark.parametrize(("name", "score"), [("accuracy", classification.accuracy), ("auroc", classification.auroc)])
def test_label_efficiency_equals_the_predictions(
    collection: Collection, name: str, score: Callable[..., float]
) -> None:
    (table,) = [
        one
        for one in build_label_efficiency_tables(select_scored_runs(collection.table))
        if one.name == f"label_efficiency_{name}"
    ]
    assert len(table.numbers) == 15 + 1  # five methods on cells twice and on skin once; the encoder of cells on skin
    for row in table.numbers.to_dict("records"):
        mean, half = compute_mean(collection, row["data"], row["method"], row["budget"], score)
        assert row[f"test/{name} mean"] == pytest.approx(mean, abs=1e-12)
        assert row[f"test/{name} high"] == pytest.approx(mean + half, abs=1e-12)
        assert row[f"test/{name} low"] == pytest.approx(mean - half, abs=1e-12)
        (shown,) = table.shown[(table.shown["data set"] == row["data"]) & (table.shown["method"] == row["method"])][
            row["budget"]
        ]
        assert shown == f"{mean:.3f} ± {half:.3f} (3)"
    assert list(table.shown.columns) == ["data set", "method", "n50", "n100"]
    assert "Encoder: tiny." in table.note
    assert table.shown.set_index(["data set", "method"]).loc[("skin", "baseline"), "n100"] == "\N{EN DASH}"


def test_methods_are_sorted_by_kind(collection: Collection) -> None:
    shown = build_label_efficiency_tables(select_scored_runs(collection.table))[0].shown
    assert list(shown[shown["data set"] == "cells"]["method"]) == [
        "untrained control",
        "probe, own novel",
        "probe, own simple",
        "finetune, own novel",
        "baseline",
    ]


def test_class_balance_table_has_per_class_budgets_only(collection: Collection) -> None:
    tables = build_class_balance_tables(select_scored_runs(collection.table))
    assert [one.name.removeprefix("class_balance_") for one in tables] == [
        "accuracy",
        "auroc",
        "balanced_accuracy",
        "macro_f1",
    ]
    assert set(tables[0].numbers["budget"]) == {"per_class10"}
    row = tables[3].numbers.set_index("method").loc["baseline"]
    mean, _ = compute_mean(collection, "cells", "baseline", "per_class10", classification.macro_f1)
    assert row["test/macro_f1 mean"] == pytest.approx(mean)


def test_ablation_table_needs_several_augmentations(collection: Collection) -> None:
    numbers = build_ablation_tables(select_scored_runs(collection.table))[0].numbers
    assert set(numbers["method"]) == {"probe, own novel", "probe, own simple"}  # finetune has one


def test_transfer_table_has_pretraining_rows_and_data_set_columns(collection: Collection) -> None:
    shown = build_transfer_tables(select_scored_runs(collection.table))[1].shown
    assert list(shown.columns) == ["method", "labels", "pretrained on", "cells", "skin"]
    assert list(shown["pretrained on"]) == ["cells novel", "skin novel"]
    mean, half = compute_mean(collection, "skin", "probe, cells novel", "n50", classification.auroc)
    assert shown.iloc[0]["skin"] == f"{mean:.3f} ± {half:.3f} (3)"
    assert shown.iloc[1]["cells"] == "\N{EN DASH}"


def test_recall_of_each_class_equals_the_predictions(collection: Collection) -> None:
    table = build_recall_tables(select_scored_runs(collection.table))[0]
    row = table.numbers.set_index(["method", "budget"]).loc[("baseline", "n100")]
    for k, name in enumerate(("red", "green", "blue")):
        mean, _ = compute_mean(
            collection, "cells", "baseline", "n100", lambda *args, k=k: classification.recall_per_class(*args)[k]
        )
        assert row[f"{name} mean"] == pytest.approx(mean)
    assert list(table.shown.columns)[-3:] == ["red", "green", "blue"]


def test_format_of_one_run_of_identical_runs_and_of_no_run() -> None:
    assert format_mean(0.81234, 0.8, 3) == "0.812 ± 0.012 (3)"
    assert format_mean(0.81234, np.nan, 1) == "0.812 (1)"
    assert format_mean(0.81234, np.nan, 3) == "0.812 (3, identical)"
    assert format_mean(np.nan, np.nan, 0) == "\N{EN DASH}"


def test_identical_runs_have_no_interval(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        add("probe", budget="full", seed=seed, predictions=drawn(1.0, 0))
    shown = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))[0].shown
    assert re.fullmatch(r"0\.\d{3} \(3, identical\)", shown["full"].item())


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), None])
def test_run_without_a_score_does_not_count(add: Add, runs: Path, lost: float | None) -> None:
    kept = [json.loads((add("probe", seed=s, quality=s) / "result.json").read_text()) for s in (0, 1)]
    folder = add("probe", seed=2)
    result = json.loads((folder / "result.json").read_text())
    result["metrics"]["test/accuracy"] = lost
    if lost is None:
        del result["metrics"]["test/accuracy"]
    (folder / "result.json").write_text(json.dumps(result))
    accuracy, auroc = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))
    mean = np.mean([one["metrics"]["test/accuracy"] for one in kept])
    assert re.fullmatch(rf"{mean:.3f} ± \d\.\d{{3}} \(2\)", accuracy.shown["n50"].item())
    assert accuracy.numbers["test/accuracy mean"].item() == pytest.approx(mean)
    assert auroc.shown["n50"].item().endswith("(3)")


def test_failed_unfinished_and_missing_runs_are_listed(collection: Collection) -> None:
    early = run_tables.build_unfinished_table(collection.table)[0].shown
    assert list(early["state"]) == ["failed", "unfinished"]
    assert list(early["error"]) == ["Out of memory.", ""]
    shown = run_tables.build_missing_table(collection.table)[0].shown
    missing = {tuple(row) for row in shown.drop(columns="encoder", errors="ignore").itertuples(index=False)}
    assert ("cells", "baseline", "n250", "all") in missing
    assert ("cells", "probe, own novel", "n250", "all") in missing
    assert not [row for row in missing if row[0] == "skin"]
    assert not [row for row in missing if row[2] in ("n50", "n100", "per_class10")]


def test_missing_seeds_are_listed(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        add("baseline", seed=seed)
    add("probe", seed=1, init=pretrained())
    shown = run_tables.build_missing_table(collect_runs(runs).table)[0].shown
    assert shown[["method", "labels", "missing"]].to_numpy().tolist() == [["probe, own novel", "n50", "seed 0, 2"]]


def test_cost_table_sums_the_recorded_time(collection: Collection) -> None:
    numbers = run_tables.build_cost_table(collection.table)[0].numbers
    assert numbers["hours"].sum() == pytest.approx(
        36 * len(collection.table[collection.table["state"] == "finished"]) / 3600
    )
    rates = numbers.set_index(["stage", "data"])["images_per_s"]
    assert rates["baseline", "cells"] == 100
    assert np.isnan(rates["probe", "cells"])


def test_runs_with_different_settings_are_not_averaged(add: Add, runs: Path) -> None:
    """Encoders that were pretrained on two data sets are not averaged with encoders pretrained on one."""

    def longer(content: dict) -> None:
        content["stage"]["resamples"] = 7

    for augmentation in ("novel", "simple"):
        for seed in (0, 1):
            add("probe", seed=seed, init=pretrained("cells", augmentation))
            add("probe", seed=seed, init=pretrained("cells", augmentation, start="skin"), quality=9.0)
            add("probe", seed=seed, init=pretrained("skin", augmentation))
        add("probe", init=pretrained("cells", augmentation), change=longer, quality=9.0)
        add("probe", init=pretrained("skin", augmentation), change=longer, quality=9.0)
    rows = select_scored_runs(collect_runs(runs).table)
    suffixes = ("(stage.resamples=1000)", "(stage.resamples=7)")
    assert set(build_ablation_tables(rows)[0].shown["method"]) == {
        f"probe, own {augmentation} {suffix}" for augmentation in ("novel", "simple") for suffix in suffixes
    }
    seen = build_transfer_tables(rows)[0].shown["pretrained on"]
    assert len(seen) == len(set(seen)) == 10
    assert {"skin then cells novel", "skin simple (stage.resamples=7)"} <= set(seen)
    (bars,) = plot_ablation(rows)
    heights = [patch.get_height() for patch in bars.figure.axes[0].patches]
    own = rows[rows["method"].str.startswith("probe, own") & rows["variant"].str.endswith("1000")]
    assert heights == pytest.approx(list(own.groupby("sequence")["test/auroc"].mean()))


def test_saved_classifiers_of_stage_test_have_a_table(add: Add, runs: Path) -> None:
    folder = add("test", dataset="skin", change=lambda content: content["stage"].update(run="runs/probe/cells/a"))
    recorded = json.loads((folder / "result.json").read_text())
    recorded["provenance"]["model"] = {"stage": "probe", "dataset": "cells"}
    (folder / "result.json").write_text(json.dumps(recorded))
    (table,) = run_tables.build_rescored_table(collect_runs(runs).table)
    assert table.shown[["classifier", "test data"]].to_numpy().tolist() == [["probe of cells", "skin"]]
    assert table.shown["accuracy"].item() == f"{recorded['metrics']['test/accuracy']:.3f}"
