"""The synthetic data set."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.data.synthetic.classes import CELL_CLASSES
from simclr_med.data.synthetic.dataset import Synthetic
from simclr_med.data.synthetic.laboratories import LABORATORIES


def source(**options) -> Synthetic:
    return Synthetic("synthetic", **({"size": 28, "seed": 0, "train": 160, "val": 40, "test": 24} | options))


def test_splits_have_images_of_all_classes() -> None:
    synthetic = source()
    assert (synthetic.size, synthetic.channels, synthetic.task, len(synthetic.classes)) == (28, 3, "multi-class", 8)
    for split, count in (("train", 160), ("val", 40), ("test", 24)):
        found = synthetic.split(split)
        assert (found.images.shape, found.images.dtype) == ((count, 28, 28, 3), np.uint8)
        assert (found.labels.shape, found.labels.dtype) == ((count, 1), np.int64)
        assert set(found.labels[:, 0].tolist()) == set(range(8))


def test_image_depends_on_seed_split_and_number_alone() -> None:
    few, many = source(train=50).split("train"), source(train=700).split("train")
    np.testing.assert_array_equal(few.images, many.images[:50])
    np.testing.assert_array_equal(few.labels, many.labels[:50])
    assert (source(seed=1).split("train").images != source().split("train").images).any()
    assert (source(val=160).split("val").images != source().split("train").images).any()


def test_all_images_differ() -> None:
    images = source().split("train").images
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_every_size_has_the_class_proportions_of_bloodmnist(count) -> None:
    shares = np.array([cell_class.share for cell_class in CELL_CLASSES])
    assert shares.sum() == 11959
    found = np.bincount(source(train=count).labels("train")[:, 0], minlength=8)
    assert np.abs(found - count * shares / shares.sum()).max() < 3


def test_labels_match_the_split() -> None:
    np.testing.assert_array_equal(source().labels("val"), source().split("val").labels)


@pytest.mark.parametrize("size", [16, 64])
def test_images_have_the_given_size(size) -> None:
    assert source(size=size, train=8).split("train").images.shape == (8, size, size, 3)


def test_content_hash_depends_on_every_argument() -> None:
    options = [{}, {"size": 64}, {"seed": 1}, {"train": 161}, {"val": 41}, {"test": 25}]
    assert len({source(**option).content_hash() for option in options}) == len(options)
    assert source().content_hash() == source().content_hash()


def test_classes_differ_in_nucleus_size_within_each_laboratory() -> None:
    """The averages over many images show the traits of the classes."""
    synthetic = source(train=1200).split("train")
    grey = synthetic.images.mean(3)
    dark = (grey < 0.75 * np.median(grey, axis=(1, 2), keepdims=True)).mean((1, 2))
    area = {name: dark[synthetic.labels[:, 0] == k].mean() for k, name in enumerate(source().classes)}
    assert area["platelet"] < area["lymphocyte"]
    assert area["erythroblast"] < area["lymphocyte"] < area["immature granulocyte"]


def test_laboratories_say_nothing_about_classes_and_differ_in_colour() -> None:
    """The background's colour, which depends on the laboratory alone, has the same mean in every class."""
    synthetic = source(train=2000).split("train")
    corners = synthetic.images[:, [0, 0, -1, -1], [0, -1, 0, -1]].max(1).astype(float)
    colour = corners - corners.mean(1, keepdims=True)
    means = np.stack([colour[synthetic.labels[:, 0] == k].mean(0) for k in range(8)])
    assert np.abs(means - colour.mean(0)).max() < 0.5 * colour.std(0).max()
    assert colour.std(0).max() > 5
    assert len({laboratory.stain for laboratory in LABORATORIES}) == len(LABORATORIES) >= 5
