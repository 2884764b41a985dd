"""Every number of a table equals the value computed from the runs' predictions.npz."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn, pretrained, write

from simclr_med.metrics import classification
from simclr_med.report import run_tables
from simclr_med.report.cells import NONE
from simclr_med.report.collect import Collection, collect_runs
from simclr_med.report.score_figures import plot_ablation
from simclr_med.report.score_tables import (
    build_ablation_tables,
    build_class_balance_tables,
    build_label_efficiency_tables,
    build_recall_tables,
    build_transfer_tables,
    select_scored_runs,
)

Add = Callable[..., Path]


@pytest.fixture(scope="module")
def collection(study: Path) -> Collection:
    return collect_runs(study)


def read_values(
    collection: Collection, data: str, method: str, budget: str, score: Callable[..., float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of each run, and its standard error over test images as the run recorded it."""
    table = collection.table
    rows = table[(table["data"] == data) & (table["method"] == method) & (table["budget"] == budget)]
    values, errors = [], []
    for folder in rows[rows["state"] == "finished"]["folder"]:
        with np.load(folder / "predictions.npz") as content:
            values.append(score("multi-class", content["labels"], content["probabilities"]))
        low, high = json.loads((folder / "result.json").read_text())["intervals"].get(f"test/{score.__name__}", (0, 0))
        errors.append((high - low) / 2 / 1.959964)
    assert len(values) == 3
    return np.array(values), np.array(errors)


def compute_interval(values: np.ndarray, errors: np.ndarray, share: float) -> tuple[float, float]:
    """Return the interval over three seeds and test images, from draws of the pivot."""
    generator = np.random.default_rng(0)
    over_seeds = np.sqrt(values.var(ddof=1) * (1 / 3 + share / (1 - share))) * generator.standard_t(2, 400_000)
    half = np.quantile(abs(over_seeds + np.sqrt((errors**2).mean()) * generator.normal(size=400_000)), 0.95)
    mean = values.mean()
    low, high = np.log(mean / (1 - mean)) + np.array([-1, 1]) * half / (mean * (1 - mean))
    return float(1 / (1 + np.exp(-low))), float(1 / (1 + np.exp(-high)))


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
        values, errors = read_values(collection, row["data"], row["method"], row["budget"], score)
        share = int(row["budget"][1:]) / 1000  # the pretraining runs used 1000 training images
        low, high = compute_interval(values, errors, share)
        assert row[f"test/{name} mean"] == pytest.approx(values.mean(), abs=1e-12)
        assert (row[f"test/{name} low"], row[f"test/{name} high"]) == pytest.approx((low, high), abs=0.004)
        (shown,) = table.shown[(table.shown["data set"] == row["data"]) & (table.shown["method"] == row["method"])][
            row["budget"]
        ]
        bounds = [f"{row[f'test/{name} {part}']:.3f}" for part in ("low", "high")]
        encoders = "" if row["method"] in ("untrained control", "baseline") else "1 encoder x "
        assert shown == f"{values.mean():.3f} [{bounds[0]}, {bounds[1]}] ({encoders}3 seeds)"
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
    values, _ = read_values(collection, "cells", "baseline", "per_class10", classification.macro_f1)
    assert row["test/macro_f1 mean"] == pytest.approx(values.mean())


def test_ablation_table_needs_several_augmentations(collection: Collection) -> None:
    numbers = build_ablation_tables(select_scored_runs(collection.table))[0].numbers
    assert set(numbers["method"]) == {"probe, own novel", "probe, own simple"}  # finetune has one


def test_transfer_table_has_pretraining_rows_and_data_set_columns(collection: Collection) -> None:
    shown = build_transfer_tables(select_scored_runs(collection.table))[1].shown
    assert list(shown.columns) == ["method", "labels", "pretrained on", "cells", "skin"]
    assert list(shown["pretrained on"]) == ["cells novel", "skin novel"]
    values, _ = read_values(collection, "skin", "probe, cells novel", "n50", classification.auroc)
    assert re.fullmatch(rf"{values.mean():.3f} \[0\.\d+, 0\.\d+\] \(1 encoder x 3 seeds\)", shown.iloc[0]["skin"])
    assert shown.iloc[1]["cells"] == "\N{EN DASH}"


def test_recall_of_each_class_equals_the_predictions(collection: Collection) -> None:
    table = build_recall_tables(select_scored_runs(collection.table))[0]
    row = table.numbers.set_index(["method", "budget"]).loc[("baseline", "n100")]
    for k, name in enumerate(("red", "green", "blue")):
        values, _ = read_values(
            collection, "cells", "baseline", "n100", lambda *args, k=k: classification.recall_per_class(*args)[k]
        )
        assert row[f"{name} mean"] == pytest.approx(values.mean())
    assert list(table.shown.columns)[-3:] == ["red", "green", "blue"]


def test_identical_runs_count_once(add: Add, runs: Path) -> None:
    """The interval is that of one run, over test images."""
    for seed in (0, 1, 2):
        folder = add("probe", budget="full", seed=seed, predictions=drawn(1.0, 0), init=pretrained())
    low, high = json.loads((folder / "result.json").read_text())["intervals"]["test/auroc"]
    shown = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))[1].shown
    assert re.fullmatch(r"0\.\d{3} \[.*\] \(1 encoder x 3 identical seeds\)", shown["full"].item())
    assert f"[{low:.3f}, {high:.3f}]" in shown["full"].item()


def test_different_runs_with_one_score_in_common_are_not_identical(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        labels, probabilities = drawn(1.0, seed)
        probabilities[:, 0] = 0  # the recall of this class is 0 in each run
        add("baseline", seed=seed, predictions=(labels, probabilities / probabilities.sum(axis=1, keepdims=True)))
    shown = build_recall_tables(select_scored_runs(collect_runs(runs).table))[0].shown
    assert re.fullmatch(r"0\.000 \[0\.000, .*\] \(3 seeds\)", shown["red"].item())


def test_two_perfect_runs_have_no_interval(add: Add, runs: Path) -> None:
    for seed in (0, 1):
        add("baseline", seed=seed, quality=15.0)
    table = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))[0]
    assert table.shown["n50"].item() == "1.000 (2 seeds)"
    assert np.isnan(table.numbers["test/accuracy low"].item())


def test_fewer_than_three_seeds_have_values_and_no_interval(add: Add, runs: Path) -> None:
    folders = [add("baseline", seed=seed) for seed in (0, 1)]
    recorded = [json.loads((folder / "result.json").read_text())["metrics"]["test/auroc"] for folder in folders]
    table = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))[1]
    assert table.shown["n50"].item() == f"{min(recorded):.3f}, {max(recorded):.3f} (2 seeds)"
    assert np.isnan(table.numbers["test/auroc low"].item())


def test_one_run_has_its_interval_over_test_images(add: Add, runs: Path) -> None:
    result = json.loads((add("baseline") / "result.json").read_text())
    low, high = result["intervals"]["test/auroc"]
    shown = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))[1].shown["n50"].item()
    assert shown == f"{result['metrics']['test/auroc']:.3f} [{low:.3f}, {high:.3f}] (1 run)"


def test_runs_without_recorded_intervals_have_no_interval(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        path = add("baseline", seed=seed) / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"intervals": {}}))
    accuracy, auroc = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))
    assert re.fullmatch(r"0\.\d{3}, 0\.\d{3}, 0\.\d{3} \(3 seeds\)", auroc.shown["n50"].item())
    assert "[" in accuracy.shown["n50"].item()  # a fraction of the images of the confusion matrix


def test_crossed_runs_name_their_population_and_stay_inside(add: Add, runs: Path) -> None:
    for start in (0, 1, 2):
        for seed in (0, 1, 2):
            quality = 9.0 if start else 2.0  # one encoder is much worse than two nearly perfect ones
            add("probe", seed=seed, init=pretrained(seed=start), quality=quality)
    rows = select_scored_runs(collect_runs(runs).table)
    for table in (*build_label_efficiency_tables(rows), *build_recall_tables(rows)):
        for name in [name for name in table.numbers if name.endswith(" low")]:
            low, high = table.numbers[name].item(), table.numbers[name.replace(" low", " high")].item()
            assert 0 <= low < high <= 1
    assert build_label_efficiency_tables(rows)[1].shown["n50"].item().endswith("(3 encoders x 3 seeds)")


def test_overlapping_subsets_widen_the_interval(add: Add, runs: Path) -> None:
    """Subsets of half of the pool: the variance over seeds is 1/3 + 1 and not 1/3 of that of the seeds."""
    for seed in (0, 1, 2):
        add("probe", seed=seed, quality=seed + 1.0)
    alone = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))[1].numbers
    path = add("probe", budget="full") / "result.json"
    recorded = json.loads(path.read_text())
    recorded["metrics"]["train/images"] = 100
    path.write_text(json.dumps(recorded))
    pooled = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))[1].numbers.iloc[:1]
    lows = [1 / table["test/auroc low"].item() - 1 for table in (alone, pooled)]
    assert lows[1] > lows[0] * 1.5


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), None])
def test_run_without_a_score_does_not_count(add: Add, runs: Path, lost: float | None) -> None:
    kept = [json.loads((add("probe", seed=s, quality=s) / "result.json").read_text()) for s in (0, 1)]
    scores = sorted(one["metrics"]["test/accuracy"] for one in kept)
    folder = add("probe", seed=2)
    result = json.loads((folder / "result.json").read_text())
    result["metrics"]["test/accuracy"] = lost
    if lost is None:
        del result["metrics"]["test/accuracy"]
    (folder / "result.json").write_text(json.dumps(result))
    accuracy, auroc = build_label_efficiency_tables(select_scored_runs(collect_runs(runs).table))
    mean = np.mean([one["metrics"]["test/accuracy"] for one in kept])
    assert accuracy.shown["n50"].item() == f"{scores[0]:.3f}, {scores[1]:.3f} (2 seeds)"
    assert accuracy.numbers["test/accuracy mean"].item() == pytest.approx(mean)
    assert auroc.shown["n50"].item().endswith("(3 seeds)")


def test_failed_unfinished_and_missing_runs_are_listed(collection: Collection) -> None:
    early = run_tables.build_unfinished_table(collection.table)[0].shown
    assert list(early["state"]) == ["failed", "unfinished"]
    assert list(early["error"]) == ["Out of memory.", ""]
    shown = run_tables.build_missing_table(collection.table)[0].shown
    missing = {tuple(row) for row in shown.drop(columns="encoder", errors="ignore").itertuples(index=False)}
    assert ("cells", "baseline", "n250", "all") in missing
    assert ("cells", "finetune, own novel", "n250", "all") in missing
    assert not [row for row in missing if row[1].startswith(("probe", "untrained"))]  # no probe had n250
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


def test_cost_table_has_the_energy_where_runs_recorded_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folders = [write(runs, "probe", seed=seed) for seed in range(3)]
    (table,) = run_tables.build_cost_table(collect_runs(runs).table)
    assert "kWh" not in table.shown
    for folder in folders[:2]:
        path = folder / "result.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["timing"] |= {"energy_kwh": 0.25, "co2e_kg": 0.125}
        path.write_text(json.dumps(content), encoding="utf-8")
    write(runs, "baseline")
    (table,) = run_tables.build_cost_table(collect_runs(runs).table)
    shown = table.shown.set_index("stage")
    assert list(shown.loc["probe", ["kWh", "kg CO2e"]]) == ["0.5 (2 runs)", "0.25 (2 runs)"]
    assert list(shown.loc["baseline", ["kWh", "kg CO2e"]]) == [NONE, NONE]
    assert "rough on CPUs" in table.note


def test_runs_with_different_settings_are_not_averaged(add: Add, runs: Path) -> None:
    """Encoders that were pretrained on two data sets are not averaged with encoders pretrained on one."""

    def longer(content: dict) -> None:
        content["stage"]["solvers"]["logistic"]["points"] = 7

    for augmentation in ("novel", "simple"):
        for seed in (0, 1):
            add("probe", seed=seed, init=pretrained("cells", augmentation))
            add("probe", seed=seed, init=pretrained("cells", augmentation, start="skin"), quality=9.0)
            add("probe", seed=seed, init=pretrained("skin", augmentation))
        add("probe", init=pretrained("cells", augmentation), change=longer, quality=9.0)
        add("probe", init=pretrained("skin", augmentation), change=longer, quality=9.0)
    rows = select_scored_runs(collect_runs(runs).table)
    suffixes = ("(stage.solvers.logistic.points=12)", "(stage.solvers.logistic.points=7)")
    assert set(build_ablation_tables(rows)[0].shown["method"]) == {
        f"probe, own {augmentation} {suffix}" for augmentation in ("novel", "simple") for suffix in suffixes
    }
    seen = build_transfer_tables(rows)[0].shown["pretrained on"]
    assert len(seen) == len(set(seen)) == 10
    assert {"skin then cells novel", "skin simple (stage.solvers.logistic.points=7)"} <= set(seen)
    (bars,) = plot_ablation(rows)
    heights = [patch.get_height() for patch in bars.figure.axes[0].patches]
    own = rows[rows["method"].str.startswith("probe, own") & rows["variant"].str.endswith("=12")]
    assert heights == pytest.approx(list(own.groupby("sequence")["test/auroc"].mean()))


def test_budgets_with_other_defaults_are_one_method(add: Add, runs: Path) -> None:
    """A budget of labels keeps the last epoch, the full split the best one."""

    def by_loss(content: dict) -> None:
        content["stage"]["select_by"] = "loss"

    add("baseline", budget="n50")
    add("baseline", budget="full")
    assert set(select_scored_runs(collect_runs(runs).table)["method"]) == {"baseline"}
    add("baseline", budget="n50", change=by_loss)
    named = select_scored_runs(collect_runs(runs).table)["method"]
    assert sorted(named) == ["baseline", "baseline", "baseline (stage.select_by=loss)"]


def test_early_stopping_counts_only_where_it_can_happen(add: Add, runs: Path) -> None:
    def patient(content: dict) -> None:
        content["stage"]["patience"] = 7

    add("baseline", budget="n50")
    add("baseline", budget="n50", seed=1, change=patient)  # keeps the last epoch
    add("baseline", budget="full", change=patient)
    assert set(select_scored_runs(collect_runs(runs).table)["method"]) == {"baseline"}
    add("baseline", budget="full", seed=1)
    named = list(select_scored_runs(collect_runs(runs).table)["method"])
    assert named.count("baseline (stage.patience=7)") == named.count("baseline (stage.patience=20)") == 1


def test_runs_that_differ_in_their_intervals_alone_are_one_method(add: Add, runs: Path) -> None:
    def fewer(content: dict) -> None:
        content["stage"]["resamples"] = 7

    add("probe", seed=0)
    add("probe", seed=1, change=fewer)
    rows = select_scored_runs(collect_runs(runs).table)
    assert len(rows) == 2
    assert set(rows["variant"]) == {""}


def test_saved_classifiers_of_stage_test_have_a_table(add: Add, runs: Path) -> None:
    folder = add("test", dataset="skin", change=lambda content: content["stage"].update(run="runs/probe/cells/a"))
    recorded = json.loads((folder / "result.json").read_text())
    recorded["provenance"]["model"] = {"stage": "probe", "dataset": "cells"}
    (folder / "result.json").write_text(json.dumps(recorded))
    (table,) = run_tables.build_rescored_table(collect_runs(runs).table)
    assert table.shown[["classifier", "test data"]].to_numpy().tolist() == [["probe of cells", "skin"]]
    assert table.shown["accuracy"].item() == f"{recorded['metrics']['test/accuracy']:.3f}"


def test_the_ablation_marks_the_augmentation_that_validation_chooses(add: Add, runs: Path) -> None:
    for augmentation, validation, quality in (("novel", 0.7, 3.0), ("simple", 0.8, 0.2)):
        for seed in (0, 1):
            folder = add("probe", seed=seed, init=pretrained(augmentation=augmentation), quality=quality)
            record = json.loads((folder / "result.json").read_text())
            record["metrics"]["val/auroc"] = validation + seed / 100
            (folder / "result.json").write_text(json.dumps(record))
    for table in build_ablation_tables(select_scored_runs(collect_runs(runs).table)):
        cells = dict(zip(table.shown["method"], table.shown["validation AUROC, n50"], strict=True))
        assert cells == {"probe, own novel": "0.705", "probe, own simple": "0.805 (chosen)"}
        assert "no test score" in table.note
