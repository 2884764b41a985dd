"""Data fractions: nesting, proportions and error messages."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from simclr_med.data.subsets import select_subset
from simclr_med.errors import DataError

LABELS = np.random.default_rng(0).choice(4, 1000, p=[0.5, 0.3, 0.15, 0.05])[:, None]


def select_rows(**options) -> np.ndarray:
    return select_subset(LABELS, 1000, **({"seed": 0} | options))[0]


def count_classes(chosen: np.ndarray) -> list[int]:
    return np.bincount(LABELS[chosen, 0], minlength=4).tolist()


def test_no_budget_selects_everything() -> None:
    chosen, notes = select_subset(None, 7, seed=3)
    assert chosen.dtype == np.int64
    assert (chosen.tolist(), notes) == (list(range(7)), [])


@pytest.mark.parametrize(
    "budgets",
    [
        [{"samples": n} for n in (50, 100, 250, 1000)],
        [{"samples": n, "strategy": "stratified"} for n in (50, 100, 250, 1000)],
        [{"percent": p} for p in (1, 10, 100)],
        [{"per_class": k} for k in (10, 25, 100)],
        [{"samples": n, "imbalance_factor": 10.0} for n in (50, 100, 250)],
        [{"per_class": k, "imbalance_factor": 10.0} for k in (10, 25, 100)],
    ],
)
def test_larger_budget_contains_the_smaller(budgets) -> None:
    for seed in (0, 1):
        chosen = [select_rows(**budget, seed=seed) for budget in budgets]
        for small, large in pairwise(chosen):
            assert set(small.tolist()) < set(large.tolist())
        for one in chosen:
            assert (np.diff(one) > 0).all()


@pytest.mark.parametrize("options", [{}, {"strategy": "stratified"}])
def test_budget_is_exact_and_depends_on_the_seed(options) -> None:
    assert len(select_rows(samples=100, **options)) == 100
    assert len(select_rows(percent=1, **options)) == 10
    assert len(select_rows(percent=0.01, **options)) == 1
    np.testing.assert_array_equal(select_rows(samples=100, **options), select_rows(samples=100, **options))
    assert set(select_rows(samples=100, **options)) != set(select_rows(samples=100, seed=1, **options))


@pytest.mark.parametrize("samples", [4, 10, 57, 100, 999])
def test_every_stratified_budget_is_in_proportion(samples) -> None:
    for seed in range(3):
        found = np.array(count_classes(select_rows(samples=samples, strategy="stratified", seed=seed)))
        assert np.abs(found - samples * np.bincount(LABELS[:, 0]) / 1000).max() < 2


def test_per_class_selects_the_same_number_of_each_class() -> None:
    assert count_classes(select_rows(per_class=20)) == [20] * 4


def test_class_with_too_few_images_is_noted_or_an_error() -> None:
    available = count_classes(np.arange(1000))[3]
    chosen, notes = select_subset(LABELS, 1000, per_class=100, seed=0)
    assert count_classes(chosen) == [100, 100, 100, available]
    assert notes == [f"data_fraction.per_class=100: class 3 has only {available} of 100 images; all are used"]
    with pytest.raises(
        DataError, match=rf"data_fraction.per_class=100: needs 100 images of class 3, which has {available}"
    ):
        select_subset(LABELS, 1000, per_class=100, strict=True, seed=0)


def test_class_above_the_highest_label_has_too_few_images() -> None:
    labels = np.array([[0], [0], [1], [1]])
    indices, notes = select_subset(labels, 4, per_class=2, seed=0, classes=3)
    assert indices.tolist() == [0, 1, 2, 3]
    assert notes == ["data_fraction.per_class=2: class 2 has only 0 of 2 images; all are used"]
    with pytest.raises(DataError, match="needs 2 images of class 2, which has 0"):
        select_subset(labels, 4, per_class=2, seed=0, classes=3, strict=True)


def test_imbalance_factor_gives_the_profile_of_cui() -> None:
    labels = np.repeat(np.arange(5), 1000)[:, None]
    chosen, notes = select_subset(labels, 5000, imbalance_factor=100.0, seed=0)
    assert np.bincount(labels[chosen, 0]).tolist() == [1000, 316, 100, 32, 10]
    assert notes == []
    short = select_subset(LABELS, 1000, imbalance_factor=1.0, seed=0)
    assert len(short[0]) == 1000
    assert len(short[1]) == 3


@pytest.mark.parametrize("labels", [None, np.ones((1000, 3), int)])
@pytest.mark.parametrize("options", [{"per_class": 5}, {"strategy": "stratified"}, {"imbalance_factor": 2.0}])
def test_class_options_without_class_labels_are_an_error(labels, options) -> None:
    key = next(iter(options))
    with pytest.raises(
        DataError, match=f"data_fraction.{key}={options[key]}: needs one label per image, but the data set has"
    ):
        select_subset(labels, 1000, **options, seed=0)
    assert len(select_subset(labels, 1000, samples=10, seed=0)[0]) == 10


@pytest.mark.parametrize("strategy", ["random", "stratified"])
def test_budget_larger_than_the_split_is_an_error(strategy) -> None:
    with pytest.raises(DataError, match=r"data_fraction.samples=1001: only 1000 images are available"):
        select_rows(samples=1001, strategy=strategy)


def test_two_budgets_are_rejected() -> None:
    with pytest.raises(ValueError, match="at most one"):
        select_rows(samples=1, percent=1)
