"""Data fractions: nesting, proportions and error messages."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from simclr_med.data.subsets import order_subset, select_subset, split_subset
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
        [{"samples": n} for n in (2, 3, 50, 100, 250, 1000)],
        [{"samples": n, "strategy": "random"} for n in (50, 100, 250, 1000)],
        [{"percent": p} for p in (1, 10, 100)],
        [{"per_class": k} for k in (10, 25, 100)],
        [{"samples": n, "imbalance_factor": 10.0} for n in (50, 100, 250)],
    ],
)
def test_larger_budget_contains_the_smaller(budgets) -> None:
    for seed in (0, 1):
        chosen = [select_rows(**budget, seed=seed) for budget in budgets]
        for small, large in pairwise(chosen):
            assert set(small.tolist()) < set(large.tolist())
        for one in chosen:
            assert (np.diff(one) > 0).all()


@pytest.mark.parametrize("options", [{}, {"strategy": "random"}])
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


@pytest.mark.parametrize("samples", [6, 7, 30])
def test_a_stratified_budget_has_an_image_of_every_class_where_it_can(samples) -> None:
    """Classes of 2,000 to 1 images, as in a long-tailed clinical set; a random draw misses some."""
    labels = np.repeat(np.arange(6), [2000, 600, 100, 20, 5, 1])[:, None]
    for seed in range(5):
        chosen, _ = select_subset(labels, len(labels), samples=samples, seed=seed)
        assert set(labels[chosen, 0]) == set(range(6))
        few, _ = select_subset(labels, len(labels), samples=3, seed=seed)
        assert labels[few, 0].tolist() == [0, 1, 2], "the largest classes where there are fewer images than classes"
    drawn, _ = select_subset(labels, len(labels), samples=samples, strategy="random", seed=0)
    assert len(set(labels[drawn, 0])) < 6


def test_what_a_small_budget_holds_out_a_larger_one_holds_out_as_well() -> None:
    for seed in (0, 1):
        held_out: set[int] = set()
        for samples in (2, 4, 10, 57, 250, 1000):
            options = {"samples": samples, "seed": seed}
            train, quarter, notes = split_subset(LABELS, 1000, hold_out=True, **options)
            assert quarter is not None
            assert held_out <= set(quarter)
            held_out = set(quarter)
            assert sorted([*train, *quarter]) == select_rows(**options).tolist()
            assert set(LABELS[quarter, 0]) <= set(LABELS[train, 0]), "each class keeps an image to train on"
            assert (notes == []) == (len(quarter) > 0)
            counts, kept = count_classes(select_rows(**options)), count_classes(quarter)
            assert np.abs(np.array(kept) - np.array(counts) / 4).max() <= 0.75
        assert 245 <= len(held_out) <= 255


def test_images_with_several_labels_are_held_out_by_their_order_alone() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (100, 3))
    train, quarter, _ = split_subset(labels, 100, hold_out=True, samples=40, seed=0)
    assert quarter is not None
    assert (len(train), len(quarter)) == (30, 10)
    assert quarter.tolist() == sorted(order_subset(labels, 100, samples=40, seed=0)[0][1::4].tolist())


def test_nothing_is_held_out_unless_it_is_asked_for() -> None:
    train, quarter, _ = split_subset(LABELS, 1000, samples=50, seed=0)
    assert quarter is None
    assert train.tolist() == select_rows(samples=50).tolist()


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
    for factor in (1.0, 3.0, 10.0, 45.0):  # LABELS are imbalanced already
        counts = count_classes(select_rows(imbalance_factor=factor))
        assert max(counts) / min(counts) == pytest.approx(factor, rel=0.1)
        assert sorted(counts, reverse=True) == counts, "a larger class stays the larger one"
    half = np.array(count_classes(select_rows(imbalance_factor=10.0, samples=400)))
    assert half.max() / half.min() == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(
    "options",
    [{"imbalance_factor": 600.0}, {"imbalance_factor": 40.0, "samples": 20}, {"imbalance_factor": 5.0, "per_class": 9}],
    ids=["the largest class is too small", "the budget is too small", "balanced budget"],
)
def test_an_imbalance_that_the_images_cannot_give_is_an_error(options) -> None:
    with pytest.raises(
        DataError, match=f"data_fraction.imbalance_factor={options['imbalance_factor']:g}: the selected"
    ):
        select_rows(**options)


@pytest.mark.parametrize("labels", [None, np.ones((1000, 3), int)])
@pytest.mark.parametrize("options", [{"per_class": 5}, {"imbalance_factor": 2.0}])
def test_class_options_without_class_labels_are_an_error(labels, options) -> None:
    key = next(iter(options))
    with pytest.raises(
        DataError, match=f"data_fraction.{key}={options[key]}: needs one label per image, but the data set has"
    ):
        select_subset(labels, 1000, **options, seed=0)
    drawn, random = (
        select_subset(labels, 1000, samples=10, seed=0, **more)[0] for more in ({}, {"strategy": "random"})
    )
    assert drawn.tolist() == random.tolist()
    assert len(drawn) == 10


@pytest.mark.parametrize("strategy", ["random", "stratified"])
def test_budget_larger_than_the_split_is_an_error(strategy) -> None:
    with pytest.raises(DataError, match=r"data_fraction.samples=1001: only 1000 images are available"):
        select_rows(samples=1001, strategy=strategy)


def test_two_budgets_are_rejected() -> None:
    with pytest.raises(ValueError, match="at most one"):
        select_rows(samples=1, percent=1)
