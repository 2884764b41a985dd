"""Poor images, rare classes and class shares that differ: found, and not found where there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import smooth
from scipy.stats import chi2_contingency

from simclr_med.audit.class_shares import count_classes, find_class_shift, find_rare_classes
from simclr_med.audit.pool import SIDE, Pool
from simclr_med.audit.quality import find_poor_images

Content = dict[str, np.ndarray]


def poor(pool: Pool) -> list[tuple[str, int | None]]:
    return [(one.kind, one.image) for one in find_poor_images(pool)]


def test_poor_images_have_their_kinds(pooled: Callable[[Content], Pool], content: Content) -> None:
    train = content["train_images"]
    train[3] = 70
    train[5] = 0
    train[8, :, :] = np.random.default_rng(0).integers(0, 5, (28, 28))
    train[11, :14] = 255
    rough = smooth(1, 5)[0, ::7, ::7].astype(float)
    steps = np.linspace(0, 3, 28)
    upright = np.array([np.interp(steps, np.arange(4), column) for column in rough.T]).T
    train[13] = np.array([np.interp(steps, np.arange(4), row) for row in upright])
    pool = pooled(content)
    assert poor(pool) == [("constant", 3), ("constant", 5), ("near_black", 8), ("clipped", 11), ("upscaled", 13)]


def traces(regular: float = 1.0, rough: float = -1.0, side: float = 28) -> np.ndarray:
    """Traces of 200 images; those of image 5 are given."""
    generator = np.random.default_rng(0)
    found = np.stack([1 + generator.random(200), -1 + 0.1 * generator.normal(size=200), np.full(200, 28)], axis=1)
    found[5] = regular, rough, side
    return found.astype(np.float32)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (traces(regular=4.6), "the pixels have traces of interpolation"),
        (traces(rough=-2.0), "the pixels have traces of interpolation"),
        (traces(regular=2.8, rough=-1.4), "the pixels have traces of interpolation"),
        (traces(side=20), "the file has 20 px a side, so that it is enlarged to 28 px"),
        (traces(np.nan, np.nan, 20), "the file has 20 px a side, so that it is enlarged to 28 px"),
        (traces(regular=2.8), None),
        (traces(rough=-1.4), None),
        (traces(np.nan, np.nan), None),
        (np.full((200, 3), np.nan), None),
    ],
)
def test_enlarged_images_by_the_traces_of_their_files(pooled, content: Content, found, words: str | None) -> None:
    pool = replace(pooled(content), traces_N3=found)
    enlarged = [(one.image, one.detail) for one in find_poor_images(pool) if one.kind == "upscaled"]
    assert enlarged == ([] if words is None else [(5, words)])


def test_a_set_that_is_dark_white_or_smooth_as_a_whole_is_not_poor(pooled, content: Content) -> None:
    for split in ("train", "val", "test"):
        images = content[f"{split}_images"]
        images[:, :12] = 0
        images[:, 18:] = 255
    assert poor(pooled(content)) == []


def test_small_images_are_told_once(pooled, content: Content) -> None:
    small = {key: array[:, :16, :16] if key.endswith("images") else array for key, array in content.items()}
    assert poor(pooled(small)) == [("tiny", None)]


def test_large_and_oblong_images_become_small_and_square(pooled, content: Content) -> None:
    large = {
        key: np.kron(array, np.ones((1, 2, 3), np.uint8)) if key.endswith("images") else array
        for key, array in content.items()
    }
    pool = pooled(large)
    assert pool.small_NSSC.shape == (200, SIDE, SIDE, 1)
    assert pool.side == 56
    assert abs(pool.grey_NSS.mean() - content["train_images"].mean()) < 2


def test_class_shares(pooled, content: Content) -> None:
    names = ("a", "b", "c")
    assert list(find_class_shift(count_classes(pooled(content), 3), names)) == []
    content["test_labels"][:30] = 2
    counts = count_classes(pooled(content), 3)
    (one,) = find_class_shift(counts, names)
    table = np.array([counts[split] for split in ("train", "val", "test")])
    assert table.sum() == 200
    assert one.score == pytest.approx((chi2_contingency(table).statistic / (200 * 2)) ** 0.5)
    assert "most for c: 33.3% of train, 32.5% of val, 82.5% of test" in one.detail


def test_a_difference_that_chance_explains_is_none() -> None:
    counts = {"train": np.array([50, 50]), "test": np.array([7, 13])}
    assert list(find_class_shift(counts, ("a", "b"))) == []
    many = {"train": np.array([500_000, 500_000]), "test": np.array([50_500, 49_500])}
    assert list(find_class_shift(many, ("a", "b"))) == [], "significant, but too small to matter"


def test_a_split_without_any_label_has_no_shares() -> None:
    counts = {"train": np.array([900, 100]), "val": np.array([0, 0]), "test": np.array([100, 900])}
    (one,) = find_class_shift(counts, ("a", "b"))
    assert "90.0% of train, 10.0% of test" in one.detail
    assert list(find_class_shift({"train": np.array([9, 1]), "test": np.array([0, 0])}, ("a", "b"))) == []


def test_rare_classes() -> None:
    counts = {"train": np.array([200, 21, 20, 0])}
    found = list(find_rare_classes(counts, ("a", "b", "c", "d")))
    assert [one.detail.split(" has ")[0] for one in found] == ["class c", "class d"]
    (few,) = find_rare_classes({"train": np.array([9, 12])}, ("a", "b"))
    assert few.detail.startswith("class a has 9 training images")
    assert list(find_rare_classes({"test": np.array([1, 200])}, ("a", "b"))) == []
