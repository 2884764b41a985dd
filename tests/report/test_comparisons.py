"""The pairs of methods, their tests, and the sentences of the report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn, forget_hashes, pretrained
from scipy import stats

from simclr_med.metrics.paired import adjust_holm, compute_image_accuracy
from simclr_med.report.collect import collect_runs
from simclr_med.report.comparisons import build_comparison_table, compare_methods, find_pairs
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import summarise

Add = Callable[..., Path]


def test_pairs_of_methods(study: Path) -> None:
    rows = select_scored_runs(collect_runs(study).table)
    assert find_pairs(rows[rows["data"] == "skin"]) == [
        ("finetune, own novel", "baseline"),
        ("finetune, own novel", "probe, own novel"),
        ("probe, cells novel", "baseline"),
        ("probe, cells novel", "probe, own novel"),
        ("probe, cells novel", "untrained control"),
        ("probe, own novel", "baseline"),
        ("probe, own novel", "untrained control"),
        ("probe, own simple", "baseline"),
        ("probe, own simple", "probe, own novel"),
        ("probe, own simple", "untrained control"),
    ]


def test_better_worse_and_inconclusive(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        add("probe", seed=seed, quality=2.0, init=pretrained())
        add("probe", seed=seed, quality=0.0)
        add("baseline", seed=seed, quality=2.0)
        add("finetune", seed=seed, quality=0.0, init=pretrained())
    comparisons, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert notes == []
    verdicts = {(comparison.score, comparison.a, comparison.b): comparison.verdict for comparison in comparisons}
    for score in ("accuracy", "AUROC"):
        assert verdicts[score, "probe, own novel", "untrained control"] == "better"
        assert verdicts[score, "finetune, own novel", "baseline"] == "worse"
        assert verdicts[score, "probe, own novel", "baseline"] == "inconclusive"
    for comparison in comparisons:
        assert comparison.difference.low < comparison.difference.mean < comparison.difference.high
        assert (comparison.difference.seeds, comparison.difference.images) == (3, 120)
        numbers = re.findall(r"[+-]\d+\.\d", comparison.sentence)
        assert numbers == [
            f"{round(100 * x, 1) + 0.0:+.1f}"
            for x in (comparison.difference.mean, comparison.difference.low, comparison.difference.high)
        ]
        assert comparison.verdict in comparison.sentence
    short = summarise(comparisons, select_scored_runs(collect_runs(runs).table))
    assert any(
        "“probe, own novel” against “untrained control”. AUROC: better with n50." in sentence for sentence in short
    )
    table = build_comparison_table(comparisons)[0]
    assert list(table.numbers["verdict"]) == [comparison.verdict for comparison in comparisons]


def test_one_seed_is_a_paired_t_test_over_images(add: Add, runs: Path) -> None:
    first = add("probe", quality=1.6, init=pretrained())
    second = add("probe", quality=1.0)
    comparisons, _ = compare_methods(select_scored_runs(collect_runs(runs).table))
    hits = [compute_image_accuracy(*read_predictions(folder / "predictions.npz")) for folder in (first, second)]
    (test,) = [test for test in comparisons if test.score == "accuracy"]
    assert test.p_holm == pytest.approx(stats.ttest_rel(*hits).pvalue)
    assert test.difference.mean == pytest.approx(hits[0].mean() - hits[1].mean())
    assert "1 seed," in test.sentence


def test_holm_correction_covers_all_budgets_of_a_data_set(study: Path) -> None:
    comparisons, _ = compare_methods(select_scored_runs(collect_runs(study).table))
    family = [comparison for comparison in comparisons if (comparison.data, comparison.score) == ("cells", "AUROC")]
    assert {comparison.budget for comparison in family} == {"n50", "n100", "per_class10"}
    assert [comparison.p_holm for comparison in family] == pytest.approx(
        list(adjust_holm([comparison.difference.p for comparison in family]))
    )


def test_no_pairs_with_other_test_images_or_other_seeds(add: Add, runs: Path) -> None:
    add("probe", seed=0, init=pretrained(), predictions=drawn(1.0, 0, labels_seed=5))
    add("probe", seed=0)
    add("baseline", seed=1)
    comparisons, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert comparisons == []
    assert notes == [
        "cells, n50: “probe, own novel” and “untrained control” were scored on different test images: not compared."
    ]


def test_sentences_name_the_encoder_if_there_are_several(add: Add, runs: Path) -> None:
    for name in ("tiny", "resnet18"):
        for dataset in ("cells", "skin") if name == "tiny" else ("cells",):
            change = lambda content, name=name: content["encoder"].update(name=name)  # noqa: E731
            add("probe", dataset=dataset, init=pretrained(dataset), quality=2.0, change=change)
            add("probe", dataset=dataset, quality=0.0, change=change)
    rows = select_scored_runs(collect_runs(runs).table)
    comparisons, _ = compare_methods(rows)
    groups = {comparison.sentence.partition(", budget")[0] for comparison in comparisons}
    assert groups == {"cells, tiny", "cells, resnet18", "skin"}
    assert {sentence.partition(", “")[0] for sentence in summarise(comparisons, rows)} == groups


def test_several_encoders_of_one_seed_enter_with_their_mean(add: Add, runs: Path) -> None:
    for start in (0, 1):
        add("probe", init=pretrained(seed=start), predictions=drawn(1.0, 10 + start))
    add("probe", predictions=drawn(1.0, 0))
    comparisons, _ = compare_methods(select_scored_runs(collect_runs(runs).table))
    hits = [compute_image_accuracy("multi-class", *drawn(1.0, 10 + start)).mean() for start in (0, 1)]
    control = compute_image_accuracy("multi-class", *drawn(1.0, 0)).mean()
    (test,) = [test for test in comparisons if test.score == "accuracy"]
    assert test.difference.mean == pytest.approx(np.mean(hits) - control)


def test_changed_predictions_are_listed(add: Add, runs: Path) -> None:
    """Also where the scores stay as they were."""
    add("probe")
    changed = add("probe", init=pretrained()) / "predictions.npz"
    with np.load(changed) as content:
        np.savez(changed, **{**content, "classes": content["classes"][::-1]})
    comparisons, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert comparisons == []
    assert notes == [
        f"{changed}: has changed since the run finished (result.json records another hash). Restore it, or repeat the "
        "run with overwrite=true. Not compared."
    ]


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "short", "flat", "words", "objects"])
def test_damaged_predictions_are_listed(add: Add, runs: Path, damage: str) -> None:
    add("probe")
    broken = add("probe", init=pretrained()) / "predictions.npz"
    forget_hashes(broken.parent)
    if damage == "gone":
        broken.unlink()
    elif damage == "cut":
        broken.write_bytes(broken.read_bytes()[:200])
    else:
        labels, probabilities = drawn(3.0, 9)
        labels = {"flat": labels[:, 0], "words": labels.astype(str), "objects": labels.astype(object)}.get(
            damage, labels
        )
        probabilities = probabilities[:7] if damage == "short" else probabilities
        np.savez(broken, labels=labels, probabilities=probabilities)
    comparisons, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert comparisons == []
    assert len(notes) == 1
    assert str(broken) in notes[0]
