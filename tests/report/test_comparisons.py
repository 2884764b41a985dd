"""The pairs of methods, their tests, and the sentences of the report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import drawn, forget_hashes, pretrained

from simclr_med.metrics.holm import adjust_holm, find_holm_levels
from simclr_med.metrics.image_values import compute_image_accuracy
from simclr_med.report.collect import collect_runs
from simclr_med.report.comparison_texts import build_comparison_table, format_comparison, format_p, format_points
from simclr_med.report.comparisons import MARGIN, Comparison, compare_methods, find_pairs
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


def compare(runs: Path, margin: float = MARGIN) -> list[Comparison]:
    return compare_methods(select_scored_runs(collect_runs(runs).table), margin)[0]


def add_crossed(add: Add, quality: float, encoders: int = 3, seeds: int = 3, **more: Any) -> None:
    """Write probes of pretrained encoders."""
    for start in range(encoders):
        for seed in range(seeds):
            init = pretrained(seed=start, augmentation=more.get("augmentation", "novel"))
            add("probe", seed=seed, init=init, quality=quality)


def test_better_worse_and_inconclusive(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        add("probe", seed=seed, quality=1.5, init=pretrained())
        add("probe", seed=seed, quality=0.0)
        add("baseline", seed=seed, quality=1.5)
        add("finetune", seed=seed, quality=0.0, init=pretrained())
    rows = select_scored_runs(collect_runs(runs).table)
    comparisons, notes = compare_methods(rows)
    assert notes == []
    verdicts = {(comparison.a, comparison.b): comparison.verdict for comparison in comparisons}
    assert verdicts["probe, own novel", "untrained control"] == "better"
    assert verdicts["finetune, own novel", "baseline"] == "worse"
    assert verdicts["probe, own novel", "baseline"] == "inconclusive"
    for comparison in comparisons:
        low, high = comparison.interval
        assert low < comparison.estimate.mean < high
        assert (len(comparison.designs[0].seeds), comparison.images) == (3, 120)
        sentence = format_comparison(comparison)
        assert re.findall(r"[+-]\d+\.\d", sentence) == [
            f"{round(100 * x, 1) + 0.0:+.1f}" for x in (comparison.estimate.mean, low, high)
        ]
        assert comparison.verdict in sentence
    assert "cells, “probe, own novel” against “untrained control”: better with n50." in summarise(comparisons, rows)
    every = [replace(comparison, budget="full") for comparison in comparisons]
    assert any("better with all labels." in sentence for sentence in summarise(every, rows))
    table = build_comparison_table(comparisons)[0]
    assert list(table.numbers["verdict"]) == [comparison.verdict for comparison in comparisons]


def test_verdict_agrees_with_the_interval_and_with_the_corrected_p(study: Path) -> None:
    for comparison in compare(study):
        low, high = comparison.interval
        assert (comparison.p_holm <= 0.05) == (low > 0 or high < 0)
        if comparison.verdict in ("better", "worse"):
            assert (low > 0) == (comparison.verdict == "better")


def test_practically_equal_is_an_interval_within_the_margin(add: Add, runs: Path) -> None:
    labels, probabilities = drawn(1.0, 0, images=3000)
    for seed in (0, 1, 2):
        noise = np.random.default_rng(seed).normal(scale=0.001, size=(2, *probabilities.shape))
        for init, shift in zip((pretrained(), None), noise, strict=True):
            near = np.clip(probabilities + shift, 0.001, 1)
            add("probe", seed=seed, init=init, predictions=(labels, near / near.sum(axis=1, keepdims=True)))
    (equal,), (other,) = compare(runs), compare(runs, margin=1e-7)
    low, high = equal.interval
    assert equal.verdict == "practically equal"
    assert -0.01 < low < high < 0.01
    assert "are practically equal" in format_comparison(equal)
    assert other.verdict != "practically equal"


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_verdict_below_three_seeds(add: Add, runs: Path, seeds: int) -> None:
    add_crossed(add, 3.0, seeds=seeds)
    for seed in range(seeds):
        add("probe", seed=seed, quality=0.0)
    (test,) = compare(runs)
    assert (test.verdict, np.isnan(test.p_holm), np.isnan(test.interval).all()) == ("no verdict", True, True)
    assert f"({100 * test.estimate.mean:+.1f} points of AUROC; {seeds} seed{'s' * (seeds > 1)}, and a" in (
        format_comparison(test)
    )


def test_identical_runs_count_once(add: Add, runs: Path) -> None:
    """Seeds that change nothing are no replicates: with one encoder there is no verdict, with three there is one."""
    for seed in (0, 1, 2):
        add("probe", budget="full", seed=seed, predictions=drawn(3.0, 0), init=pretrained())
        add(
            "probe",
            budget="full",
            seed=seed,
            predictions=drawn(0.0, 0, salt=1),
            init=pretrained(augmentation="natural"),
        )
    (test,) = compare(runs)
    assert (test.verdict, test.missing[:26]) == ("no verdict", "identical runs of 3 seeds ")
    for start in (1, 2):
        for augmentation, quality in (("novel", 3.0), ("natural", 0.0)):
            for seed in (0, 1, 2):
                init = pretrained(seed=start, augmentation=augmentation)
                add("probe", budget="full", seed=seed, predictions=drawn(quality, start, salt=9), init=init)
    (test,) = compare(runs)
    assert test.estimate.seeds is None
    assert "3 encoders x 3 identical seeds" in format_comparison(test)


def test_too_few_positives(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        labels, probabilities = drawn(2.0, seed)
        labels = np.where((labels == 2) & (np.cumsum(labels == 2)[:, None] > 9), 0, labels)
        add("probe", seed=seed, init=pretrained(), predictions=(labels, probabilities))
        add("probe", seed=seed, predictions=(labels, drawn(0.0, seed, salt=1)[1]))
    (test,) = compare(runs)
    assert test.missing == "too few positives: a class has 9 test images, and a verdict needs 10"


def test_sentences_name_this_encoder_where_there_is_one(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        add("probe", seed=seed, quality=3.0, init=pretrained())
        add("probe", seed=seed, quality=0.0)
        add("finetune", seed=seed, quality=0.0, init=pretrained())
    sentences = {(test.a, test.b): format_comparison(test) for test in compare(runs)}
    assert (
        "this encoder of “probe, own novel” is better than “untrained control”"
        in (sentences["probe, own novel", "untrained control"])
    )
    assert (
        "with this encoder, “finetune, own novel” is worse than “probe, own novel”"
        in (sentences["finetune, own novel", "probe, own novel"])
    )


def test_several_encoders_are_an_error_term_and_the_method_is_named(add: Add, runs: Path) -> None:
    add_crossed(add, 3.0)
    for seed in (0, 1, 2):
        add("probe", seed=seed, quality=0.0)
    (test,) = compare(runs)
    assert len(test.estimate.encoders) == 1  # the control's encoder varies with the seed
    assert "3 encoders x 3 seeds against 3 seeds" in format_comparison(test)
    assert "this encoder" not in format_comparison(test)


def test_one_encoder_on_both_sides_is_paired(add: Add, runs: Path) -> None:
    add_crossed(add, 2.0)
    for start in range(3):
        for seed in range(3):
            add("finetune", seed=seed, quality=2.0, init=pretrained(seed=start))
    (test,) = compare(runs)
    assert test.is_paired
    assert len(test.estimate.encoders) == 1


def test_overlap_is_that_of_the_two_compared_methods(add: Add, runs: Path) -> None:
    """Runs of a third method under the same budget, with other subsets, change nothing."""
    for seed in (0, 1, 2):
        add("probe", seed=seed, quality=2.0, init=pretrained())
        add("probe", seed=seed, quality=1.0)
    add("probe", budget="full")
    alone = [test for test in compare(runs) if test.budget == "n50"]
    for seed in (0, 1, 2):
        path = add("finetune", seed=seed, init={"name": "imagenet"}) / "result.json"
        recorded = json.loads(path.read_text())
        recorded["metrics"]["train/images"] = 900
        path.write_text(json.dumps(recorded))
    assert [(test.a, test.estimate) for test in compare(runs) if test.budget == "n50"] == [
        (test.a, test.estimate) for test in alone
    ]


def test_suggested_number_of_seeds_decides(add: Add, runs: Path) -> None:
    for seed, quality in enumerate((1.7, 0.9, 2.2)):
        add("probe", seed=seed, quality=quality, init=pretrained())
        add("probe", seed=seed, quality=1.2)
    (test,) = compare(runs)
    assert test.verdict == "inconclusive"
    (number,) = map(int, re.findall(r"About (\d+) seeds", format_comparison(test)))
    enough, fewer = (test.estimate.resize(seeds=count) for count in (number, number - 1))
    assert enough.half_width(test.level) < abs(test.estimate.mean) <= fewer.half_width(test.level)


def test_seeds_and_encoders_that_are_suggested_together(add: Add, runs: Path) -> None:
    """As many of both, although there are more seeds than encoders now."""
    for seed, more in enumerate((0.0, 0.8, 0.0, 0.6)):
        add("baseline", seed=seed, quality=0.9)
        for start, gain in enumerate((0.0, 0.6)):
            add("probe", seed=seed, init=pretrained(seed=start), quality=0.7 + gain + more)
    (test,) = compare(runs)
    (seeds, encoders) = map(int, re.findall(r"About (\d+) seeds and (\d+) encoders", format_comparison(test))[0])
    assert seeds == encoders > 2
    enough, fewer = (test.estimate.resize(count, count) for count in (seeds, seeds - 1))
    assert enough.half_width(test.level) < abs(test.estimate.mean) <= fewer.half_width(test.level)


def test_interval_of_a_difference_stays_between_minus_one_and_one(add: Add, runs: Path) -> None:
    """Two encoders that differ much leave one degree of freedom."""
    for seed in (0, 1, 2):
        add("baseline", seed=seed, quality=1.0)
        for start, quality in enumerate((0.0, 3.0)):
            add("probe", seed=seed, init=pretrained(seed=start), quality=quality)
    (test,) = compare(runs)
    assert test.interval == (-1.0, 1.0)


def test_p_values_are_not_printed_below_one_in_ten_thousand() -> None:
    assert [format_p(p) for p in (6.1e-37, 0.0001, 0.034)] == ["< 0.0001", "= 0.0001", "= 0.034"]


def test_holm_correction_covers_all_budgets_and_encoders_of_a_data_set(add: Add, runs: Path) -> None:
    for name in ("tiny", "resnet18"):
        for budget in ("n50", "n100"):
            for seed in (0, 1, 2):
                change = lambda content, name=name: content["encoder"].update(name=name)  # noqa: E731
                add("probe", budget=budget, seed=seed, init=pretrained(), quality=1.5, change=change)
                add("probe", budget=budget, seed=seed, quality=1.2, change=change)
    family = compare(runs)
    assert len(family) == 4
    p_values = [test.estimate.p_value() for test in family]
    assert [test.p_holm for test in family] == pytest.approx(list(adjust_holm(p_values)))
    assert [test.level for test in family] == pytest.approx(list(find_holm_levels(p_values, 0.05)))


def test_no_pairs_with_other_test_images_or_other_seeds(add: Add, runs: Path) -> None:
    add("probe", seed=0, init=pretrained(), predictions=drawn(1.0, 0, labels_seed=5))
    add("probe", seed=0)
    add("baseline", seed=1)
    comparisons, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert comparisons == []
    assert notes == [
        "cells, budget n50: “probe, own novel” and “untrained control” were scored on different test images: "
        "not compared."
    ]


def test_sentences_name_the_encoder_if_there_are_several(add: Add, runs: Path) -> None:
    for name in ("tiny", "resnet18"):
        for dataset in ("cells", "skin") if name == "tiny" else ("cells",):
            change = lambda content, name=name: content["encoder"].update(name=name)  # noqa: E731
            add("probe", dataset=dataset, init=pretrained(dataset), quality=2.0, change=change)
            add("probe", dataset=dataset, quality=0.0, change=change)
    rows = select_scored_runs(collect_runs(runs).table)
    comparisons, _ = compare_methods(rows)
    groups = {format_comparison(comparison).partition(", budget")[0] for comparison in comparisons}
    assert groups == {"cells, tiny", "cells, resnet18", "skin"}
    assert {sentence.partition(", “")[0] for sentence in summarise(comparisons, rows)} == groups


def test_means_are_over_encoders_and_seeds(add: Add, runs: Path) -> None:
    for start in (0, 1):
        add("probe", init=pretrained(seed=start), predictions=drawn(1.0, 10 + start))
    add("probe", predictions=drawn(1.0, 0))
    hits = [compute_image_accuracy("multi-class", *drawn(1.0, 10 + start)).mean() for start in (0, 1)]
    control = compute_image_accuracy("multi-class", *drawn(1.0, 0)).mean()
    (test,) = compare(runs)
    assert test.accuracy == pytest.approx(np.mean(hits) - control)


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


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.0312, "+3.1"), (-0.0004, "-0.04"), (0.00031, "+0.03"), (-1e-7, "+0.0"), (0.0, "+0.0"), (-0.0372, "-3.7")],
)
def test_points_show_the_sign_that_the_verdict_follows_from(difference: float, text: str) -> None:
    assert format_points(difference) == text
