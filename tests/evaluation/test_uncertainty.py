"""Margin and disagreement rank images by their sources' formulas, continue a selection, and avoid twins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.special import rel_entr

from simclr_med.evaluation.label_order import Candidates, Order
from simclr_med.evaluation.probe import logistic
from simclr_med.evaluation.uncertainty import (
    Known,
    disagreement,
    margin,
    measure_disagreement,
    measure_margins,
)
from simclr_med.types import MULTI_LABEL, Task

Method = Callable[..., Order]
METHODS: dict[str, Method] = {"margin": margin, "disagreement": partial(disagreement, members=5)}
FIT: dict[str, Any] = {
    **{"lowest": 1e-2, "highest": 1e0, "points": 3, "select_by": "nll"},
    **{"max_iterations": 100, "tolerance": 1e-6},
}
LABELLED = np.array([5, 110, 17, 70, 33, 95, 2, 88])


def two_sides() -> np.ndarray:
    """Features of 120 images on a line between two classes, in order: image 60 is between them."""
    place_N = np.linspace(-1, 1, 120) + np.random.default_rng(0).normal(0, 0.02, 120)
    return np.stack([place_N, np.ones(120)], axis=1).astype(np.float32)


def known(labels_ML: np.ndarray | None = None, task: Task = "multi-class") -> Known:
    side_M1 = (LABELLED >= 60).astype(np.int64)[:, None]
    return Known(LABELLED, side_M1 if labels_ML is None else labels_ML, task, 2, partial(logistic, **FIT))


def candidates(twins_N: np.ndarray | None = None) -> Candidates:
    return Candidates(two_sides, np.arange(120) if twins_N is None else twins_N)


@pytest.mark.parametrize("method", METHODS)
def test_labelled_images_come_first_and_every_size_is_nested(method: str) -> None:
    whole, half = (METHODS[method](candidates(), [size], 0, known()) for size in (120, 40))
    assert whole.rows[:8] == half.rows[:8] == LABELLED.tolist()
    assert sorted(whole.rows) == list(range(120))
    assert whole.rows[:40] == half.rows
    assert whole.scores[:8] == [None] * 8
    scores = [score for score in whole.scores if score is not None]
    assert scores == sorted(scores, reverse=method == "disagreement")


@pytest.mark.parametrize("method", METHODS)
def test_the_next_images_lie_between_the_classes(method: str) -> None:
    chosen = METHODS[method](candidates(), [24], 0, known()).rows[8:]
    assert np.abs(np.array(chosen) - 59.5).mean() < 20, "a random draw is 30 away on average"


def test_margin_is_the_smallest_difference_of_the_probe() -> None:
    features_ND, start = two_sides(), known()
    probe = start.fit_probe(features_ND)
    direct = np.abs(np.diff(start.predict_proba(probe, features_ND), axis=1)[:, 0])
    direct[LABELLED] = np.inf
    order = margin(candidates(), [18], 0, start)
    assert order.rows[8:] == np.argsort(direct)[:10].tolist()
    assert order.scores[8] == pytest.approx(direct.min())


@pytest.mark.parametrize("method", METHODS)
def test_no_twin_of_a_labelled_or_chosen_image_is_chosen(method: str) -> None:
    twins_N = np.arange(120) // 2  # every image has one
    rows = METHODS[method](candidates(twins_N), [120], 0, known()).rows
    assert len(rows) == len(set(twins_N[rows])) == 60


def test_the_committee_follows_the_seed() -> None:
    one, same, other = (METHODS["disagreement"](candidates(), [30], seed, known()).rows for seed in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize("method", METHODS)
def test_several_labels_of_an_image(method: str) -> None:
    labels_ML = np.stack([LABELLED >= 60, LABELLED >= 30], axis=1).astype(np.int64)
    rows = METHODS[method](candidates(), [30], 0, known(labels_ML, MULTI_LABEL)).rows
    assert len(set(rows)) == 30


def test_margins_of_probabilities() -> None:
    probabilities_NK = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.5, 0.5, 0.0]])
    assert measure_margins(probabilities_NK, "multi-class") == pytest.approx([0.2, 0.7, 0.0])
    assert measure_margins(np.array([[0.9, 0.4], [0.05, 1.0]]), MULTI_LABEL) == pytest.approx([0.2, 0.9])


def test_disagreement_is_the_mean_divergence_from_the_mean() -> None:
    members_ENK = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
    members_ENK[0, 0] = (1, 0, 0)  # a class that this member has never seen
    expected_N = rel_entr(members_ENK, members_ENK.mean(axis=0)).sum(axis=2).mean(axis=0)
    assert measure_disagreement(members_ENK, "multi-class") == pytest.approx(expected_N)
    both_EN2 = np.stack([members_ENK[..., 0], 1 - members_ENK[..., 0]], axis=2)
    one_label = measure_disagreement(members_ENK[..., :1], MULTI_LABEL)
    assert one_label == pytest.approx(measure_disagreement(both_EN2, "multi-class"))
    assert measure_disagreement(np.full((3, 2, 2), 0.5), "multi-class").tolist() == [0, 0]
