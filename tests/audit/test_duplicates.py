"""Duplicates are found whatever was done to the copy, and images that only share an anatomy are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from conftest import smooth

from simclr_med.audit.findings import Finding, twins_of_test
from simclr_med.audit.inspection import check_pixels
from simclr_med.audit.matching import correlate, orient
from simclr_med.audit.neighbours import find_nearest, find_turned
from simclr_med.audit.pixel_features import describe_pixels, describe_spectrum, fit_whitening
from simclr_med.audit.pool import Pool

Content = dict[str, np.ndarray]
CLASSES = ("a", "b", "c")
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shifted": lambda image: np.roll(image, (1, -2), axis=(0, 1)),
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image),
    "turned and mirrored": lambda image: np.rot90(image[:, ::-1], 3),
    "brightened": lambda image: np.clip(image * 1.2 + 12, 0, 255).astype(np.uint8),
    "noisy": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8),
}


def look(pool: Pool, kind: str) -> list[Finding]:
    found = check_pixels(pool, CLASSES, 0, lambda done, total: None).findings
    return [one for one in found if one.kind == kind]


def places(found: Sequence[Finding], pool: Pool) -> set[tuple[tuple[str, int], ...]]:
    return {tuple(map(pool.place, one.images)) for one in found}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_changed_copy_is_the_only_near_duplicate(pooled, content: Content, change) -> None:
    content["test_images"][7] = change(content["train_images"][31])
    content["val_images"][3] = change(content["train_images"][90])
    pool = pooled(content)
    found = look(pool, "near_duplicate")
    assert places(found, pool) == {(("test", 7), ("train", 31)), (("val", 3), ("train", 90))}
    assert twins_of_test(found, pool) == {160 + 7}


def test_different_images_are_no_duplicates(pooled, content: Content) -> None:
    assert look(pooled(content), "near_duplicate") == []


def test_a_common_anatomy_makes_no_duplicates_and_hides_none(pooled, content: Content) -> None:
    """Every image has the same strong structure, so that plain correlations are above 0.9 everywhere."""
    anatomy = smooth(1, 99)[0].astype(float)
    for split in ("train", "val", "test"):
        content[f"{split}_images"] = (0.8 * anatomy + 0.2 * content[f"{split}_images"]).astype(np.uint8)
    images = content["train_images"].astype(np.float32)
    rows = np.arange(len(images))
    assert np.median(correlate(images, rows, np.roll(rows, 1), np.zeros_like(rows))) > 0.9
    content["test_images"][7] = np.roll(content["train_images"][31], 1, axis=1)
    pool = pooled(content)
    assert places(look(pool, "near_duplicate"), pool) == {(("test", 7), ("train", 31))}


def test_many_duplicates_do_not_raise_the_threshold(pooled, content: Content) -> None:
    """A third of the test images has one, as in BreastMNIST."""
    for row in range(14):
        content["test_images"][row] = np.roll(content["train_images"][row], 1, axis=0)
    pool = pooled(content)
    assert len(twins_of_test(look(pool, "near_duplicate"), pool)) == 14


def test_exact_duplicates_and_opposite_labels(pooled, content: Content) -> None:
    content["test_images"][5] = content["train_images"][6]  # classes 2 and 0
    content["val_images"][4] = content["train_images"][6]
    content["train_images"][10] = content["train_images"][7]  # classes 1 and 1
    pool = pooled(content)
    pairs = {(("test", 5), ("train", 6)), (("val", 4), ("train", 6)), (("train", 10), ("train", 7))}
    assert places(look(pool, "exact_duplicate"), pool) == pairs
    assert look(pool, "near_duplicate") == [], "an exact duplicate counts once"
    opposite = look(pool, "opposite_labels")
    assert places(opposite, pool) == {(("test", 5), ("train", 6)), (("val", 4), ("train", 6))}
    assert opposite[0].detail.startswith("labelled ")


def test_data_without_labels_have_no_opposite_labels(pooled, content: Content) -> None:
    content["test_images"][5] = content["train_images"][6]
    pool = pooled({key: array for key, array in content.items() if key.endswith("images")})
    assert len(look(pool, "exact_duplicate")) == 1
    assert look(pool, "opposite_labels") == []


def test_few_images_are_compared_for_equality_alone(pooled, content: Content) -> None:
    few = {key: array[:4] for key, array in content.items()}
    few["test_images"][0] = few["train_images"][0]
    pool = pooled(few)
    assert len(look(pool, "exact_duplicate")) == 1
    assert look(pool, "near_duplicate") == []


def test_orientations_are_the_eight_of_a_square() -> None:
    image = smooth(1)
    turned = [orient(image, number) for number in range(8)]
    assert len({one.tobytes() for one in turned}) == 8
    assert np.array_equal(turned[2], image[:, ::-1, ::-1])
    assert np.array_equal(turned[4], image[:, :, ::-1])


def test_a_spectrum_knows_no_shift_and_no_half_turn() -> None:
    images = smooth(300).astype(np.float32)
    features = fit_whitening(describe_spectrum, images, 0)
    made_ND = features(images)
    shifted = np.pad(images, ((0, 0), (2, 0), (2, 0)), mode="edge")[:, :-2, :-2]
    assert np.array_equal((features(shifted) @ made_ND.T).argmax(axis=1), np.arange(300))
    assert np.allclose(features(orient(images, 2)), made_ND, atol=1e-3)


def test_pixel_features_know_no_brightness() -> None:
    images = smooth(100, channels=3)
    features = fit_whitening(describe_pixels, images, 0)
    brighter = images.astype(np.float32) * 1.1 + 7
    assert np.allclose(features(brighter), features(images), atol=1e-3)
    assert np.allclose(np.linalg.norm(features(images), axis=1), 1, atol=1e-5)


def test_neighbours_are_those_of_a_full_comparison() -> None:
    images = smooth(600).astype(np.float32)
    features = fit_whitening(describe_spectrum, images, 0)
    made_ND = features(images)
    cosine_NN = made_ND @ made_ND.T
    np.fill_diagonal(cosine_NN, -2)
    nearest = find_nearest(made_ND, 3)
    assert np.array_equal(nearest.rows_NK, np.argsort(-cosine_NN, axis=1)[:, :3])
    turned_ND = features(orient(images, 1))
    cosine_NN = made_ND @ turned_ND.T
    np.fill_diagonal(cosine_NN, -2)
    assert np.array_equal(find_turned(made_ND, turned_ND), cosine_NN.argmax(axis=1))
