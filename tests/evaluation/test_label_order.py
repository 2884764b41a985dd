"""The methods of stage=select choose what their papers say, nested, without twins, and as the seed says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from simclr_med.data.subsets import select_subset
from simclr_med.evaluation.label_order import Candidates, Order, random_order
from simclr_med.evaluation.probcover import probcover
from simclr_med.evaluation.typiclust import measure_typicality, typiclust

Method = Callable[..., Order]
METHODS: dict[str, Method] = {
    "typiclust": lambda *given: typiclust(*given, neighbours=20, most_clusters=500),
    "coverage": lambda *given: probcover(*given, clusters=4, purity=0.95, most_images=1000),
    "random": random_order,
}
CENTRES, EACH = 4, 30


def blobs(spread: float = 0.05) -> np.ndarray:
    """Features of length 1 around 4 orthogonal directions, 30 each, the blobs one after the other."""
    features_ND = np.repeat(np.eye(8)[:CENTRES], EACH, axis=0)
    features_ND += np.random.default_rng(0).normal(0, spread, features_ND.shape)
    return (features_ND / np.linalg.norm(features_ND, axis=1, keepdims=True)).astype(np.float32)


def candidates(features_ND: np.ndarray, twins_N: np.ndarray | None = None) -> Candidates:
    return Candidates(lambda: features_ND, np.arange(len(features_ND)) if twins_N is None else twins_N)


@pytest.mark.parametrize("method", METHODS)
def test_orders_are_of_distinct_images_and_follow_the_seed(method: str) -> None:
    given = candidates(blobs())
    one, same, other = (METHODS[method](given, [4, 12, 60], seed) for seed in (0, 0, 1))
    assert len(set(one.rows)) == len(one.rows) == 60
    assert one.rows == same.rows != other.rows
    assert len(METHODS[method](given, [4, 120], 0).rows) == 120, "all images can be selected"


@pytest.mark.parametrize("method", METHODS)
def test_later_rounds_keep_the_images_of_earlier_ones(method: str) -> None:
    given = candidates(blobs())
    assert METHODS[method](given, [4, 12, 60], 0).rows[:12] == METHODS[method](given, [4, 12], 0).rows


@pytest.mark.parametrize("method", METHODS)
def test_of_twins_one_is_selected(method: str) -> None:
    features_ND = np.repeat(blobs()[::3], 3, axis=0)  # every image three times
    twins_N = np.repeat(np.arange(40), 3)
    order = METHODS[method](candidates(features_ND, twins_N), [5, 90], 0)
    assert len(order.rows) == 40
    assert len(set(twins_N[order.rows])) == 40


@pytest.mark.parametrize("method", ["typiclust", "coverage"])
def test_four_blobs_need_four_images(method: str) -> None:
    rows = METHODS[method](candidates(blobs()), [4], 0).rows
    assert sorted(row // EACH for row in rows) == [0, 1, 2, 3]


def test_typical_images_are_near_the_centres() -> None:
    features_ND = blobs()
    for row in METHODS["typiclust"](candidates(features_ND), [4], 0).rows:
        blob_MD = features_ND[row // EACH * EACH :][:EACH]
        to_centre = np.linalg.norm(blob_MD - blob_MD.mean(axis=0), axis=1)
        assert to_centre[row % EACH] <= np.median(to_centre)


def test_typiclust_takes_the_largest_cluster_first_and_its_most_typical_image() -> None:
    features_ND = blobs()[: 2 * EACH + 12]  # the third blob is smaller
    order = METHODS["typiclust"](candidates(features_ND), [3], 0)
    assert order.rows[2] >= 2 * EACH, "the smallest cluster comes last"
    for row, score in zip(order.rows[:2], order.scores, strict=False):
        distances_MM = np.linalg.norm(features_ND[None, :EACH] - features_ND[:EACH, None], axis=2)
        if row >= EACH:
            continue
        mean_M = np.sort(distances_MM, axis=1)[:, 1:16].mean(axis=1)  # 15 is half of the cluster
        assert row == mean_M.argmin()
        assert score == pytest.approx(1 / mean_M.min(), rel=1e-2)


def test_typicality_of_copies_is_finite() -> None:
    assert np.isfinite(measure_typicality(np.ones((6, 3), np.float32), 20)).all()
    assert measure_typicality(np.ones((1, 3), np.float32), 20).tolist() == [0]


def test_coverage_counts_what_each_image_newly_covers() -> None:
    features_ND = blobs(0.01)
    order = METHODS["coverage"](candidates(features_ND), [4], 0)
    radius = float(order.facts["radius"])
    covered_N = np.zeros(len(features_ND), bool)
    for row, score in zip(order.rows, order.scores, strict=True):
        near_N = np.linalg.norm(features_ND - features_ND[row], axis=1) <= radius
        assert score == pytest.approx((near_N & ~covered_N).sum(), abs=2)  # the fact is rounded
        covered_N |= near_N


def test_equal_features_are_no_error() -> None:
    same_ND = np.full((30, 4), 0.5, np.float32)
    for method in METHODS.values():
        assert len(method(candidates(same_ND), [5, 10], 0).rows) == 10


def test_random_is_the_draw_of_the_label_budgets() -> None:
    rows = random_order(candidates(blobs()), [30], 7).rows
    drawn, _ = select_subset(None, 120, samples=30, strategy="random", seed=7)
    assert sorted(rows) == drawn.tolist()


def test_random_needs_no_features() -> None:
    def fail() -> np.ndarray:
        raise AssertionError

    assert len(random_order(Candidates(fail, np.arange(9)), [5], 0).rows) == 5
