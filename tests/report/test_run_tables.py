"""Sentences and tables about runs."""

from __future__ import annotations

import math

import pandas as pd

from simclr_med.report.run_tables import MOST_SENTENCES, describe_fallen_pretraining

RUN = {
    "state": "finished",
    "stage": "pretrain",
    "data": "cells",
    "encoder": "tiny",
    "augmentation": "novel",
    "method": "pretrain, novel",
    "val/knn_accuracy": 0.5,
    "val/knn_accuracy_before": 0.5,
    "val/probe_auroc": 0.8,
    "val/probe_auroc_before": 0.7,
}


def describe(*changes: dict) -> list[str]:
    return describe_fallen_pretraining(pd.DataFrame([RUN | {"seed": seed} | one for seed, one in enumerate(changes)]))


def test_pretraining_that_ended_below_its_start_is_named() -> None:
    assert describe({}, {"val/knn_accuracy": 0.405, "val/knn_accuracy_before": 0.417}, {"val/probe_auroc": 0.7}) == [
        "Pretraining ended below its start: cells, pretrain, novel, tiny, seed 1: validation kNN accuracy 0.405 "
        "(before: 0.417)."
    ]
    both = {"val/knn_accuracy": 0.4, "val/probe_auroc": 0.6}
    assert describe(both)[0].endswith(
        "kNN accuracy 0.400 (before: 0.500) and validation probe AUROC 0.600 (before: 0.700)."
    )


def test_runs_without_the_monitors_and_unfinished_ones_are_not_named() -> None:
    assert describe({"val/knn_accuracy_before": math.nan, "val/probe_auroc": math.nan}) == []
    assert describe({"val/knn_accuracy": 0.1, "state": "unfinished"}, {"val/knn_accuracy": 0.1, "stage": "probe"}) == []
    earlier = pd.DataFrame([RUN | {"seed": 0}]).drop(columns=["val/probe_auroc", "val/probe_auroc_before"])
    assert describe_fallen_pretraining(earlier) == []


def test_more_than_five_sentences_are_counted() -> None:
    sentences = describe(*[{"val/knn_accuracy": 0.1}] * (MOST_SENTENCES + 3))
    assert len(sentences) == MOST_SENTENCES + 1
    assert sentences[-1] == "3 more pretraining runs ended below their start."
