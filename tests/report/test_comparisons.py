"""Methods are compared where that answers a question, and the sentences say what the tests found and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn, pretrained
from scipy import stats

from simclr_med.metrics.paired import adjust_holm, compute_image_accuracy
from simclr_med.report.collect import collect_runs
from simclr_med.report.comparisons import build_comparison_table, compare_methods, find_pairs
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import summarise

Add = Callable[..., Path]


def test_pairs_answer_questions(study: Path) -> None:
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


def test_better_worse_and_cannot_tell(add: Add, runs: Path) -> None:
    for seed in (0, 1, 2):
        add("probe", seed=seed, quality=2.0, init=pretrained())
        add("probe", seed=seed, quality=0.0)
        add("baseline", seed=seed, quality=2.0)
        add("finetune", seed=seed, quality=0.0, init=pretrained())
    found, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert notes == []
    verdicts = {(one.score, one.a, one.b): one.verdict for one in found}
    for score in ("accuracy", "AUROC"):
        assert verdicts[score, "probe, own novel", "untrained control"] == "better"
        assert verdicts[score, "finetune, own novel", "baseline"] == "worse"
        assert verdicts[score, "probe, own novel", "baseline"] == "cannot tell"
    for one in found:
        assert one.found.low < one.found.mean < one.found.high
        assert (one.found.seeds, one.found.images) == (3, 120)
        numbers = re.findall(r"[+-]\d+\.\d", one.sentence)
        assert numbers == [f"{round(100 * x, 1) + 0.0:+.1f}" for x in (one.found.mean, one.found.low, one.found.high)]
        assert one.verdict in one.sentence
    short = summarise(found, select_scored_runs(collect_runs(runs).table))
    assert any("“probe, own novel” against “untrained control”. AUROC: better under n50." in told for told in short)
    table = build_comparison_table(found)[0]
    assert list(table.numbers["verdict"]) == [one.verdict for one in found]


def test_one_seed_is_the_paired_t_test_of_the_predictions_and_says_so(add: Add, runs: Path) -> None:
    one = add("probe", quality=1.6, init=pretrained())
    other = add("probe", quality=1.0)
    found, _ = compare_methods(select_scored_runs(collect_runs(runs).table))
    hits = [
        compute_image_accuracy("multi-class", *read_predictions(folder / "predictions.npz")) for folder in (one, other)
    ]
    (test,) = [test for test in found if test.score == "accuracy"]
    assert test.p_holm == pytest.approx(stats.ttest_rel(*hits).pvalue)
    assert test.found.mean == pytest.approx(hits[0].mean() - hits[1].mean())
    assert "1 seed," in test.sentence


def test_holm_covers_all_budgets_of_a_data_set(study: Path) -> None:
    found, _ = compare_methods(select_scored_runs(collect_runs(study).table))
    mine = [one for one in found if (one.data, one.score) == ("cells", "AUROC")]
    assert {one.budget for one in mine} == {"n50", "n100", "per_class10"}
    assert [one.p_holm for one in mine] == pytest.approx(list(adjust_holm([one.found.p for one in mine])))


def test_other_test_images_and_other_seeds_make_no_pairs(add: Add, runs: Path) -> None:
    add("probe", seed=0, init=pretrained(), predictions=drawn(1.0, 0, labels_seed=5))
    add("probe", seed=0)
    add("baseline", seed=1)
    found, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert found == []
    assert notes == [
        "cells, n50: “probe, own novel” and “untrained control” have runs on other test images: not compared."
    ]


def test_sentences_name_the_encoder_where_a_data_set_has_several(add: Add, runs: Path) -> None:
    for name in ("tiny", "resnet18"):
        for dataset in ("cells", "skin") if name == "tiny" else ("cells",):
            change = lambda content, name=name: content["encoder"].update(name=name)  # noqa: E731
            add("probe", dataset=dataset, init=pretrained(dataset), quality=2.0, change=change)
            add("probe", dataset=dataset, quality=0.0, change=change)
    rows = select_scored_runs(collect_runs(runs).table)
    found, _ = compare_methods(rows)
    starts = {one.sentence.partition(", the budget")[0] for one in found}
    assert starts == {"cells, tiny", "cells, resnet18", "skin"}
    assert {told.partition(", “")[0] for told in summarise(found, rows)} == starts


def test_several_encoders_of_one_seed_count_by_their_mean(add: Add, runs: Path) -> None:
    for start in (0, 1):
        add("probe", init=pretrained(seed=start), predictions=drawn(1.0, 10 + start))
    add("probe", predictions=drawn(1.0, 0))
    found, _ = compare_methods(select_scored_runs(collect_runs(runs).table))
    hits = [compute_image_accuracy("multi-class", *drawn(1.0, 10 + start)).mean() for start in (0, 1)]
    control = compute_image_accuracy("multi-class", *drawn(1.0, 0)).mean()
    (test,) = [test for test in found if test.score == "accuracy"]
    assert test.found.mean == pytest.approx(np.mean(hits) - control)


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "short", "flat", "words", "objects"])
def test_predictions_that_cannot_be_trusted_are_named(add: Add, runs: Path, damage: str) -> None:
    add("probe")
    broken = add("probe", init=pretrained()) / "predictions.npz"
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
    found, notes = compare_methods(select_scored_runs(collect_runs(runs).table))
    assert found == []
    assert len(notes) == 1
    assert str(broken) in notes[0]
