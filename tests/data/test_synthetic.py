from __future__ import annotations

import numpy as np
import pytest

from simclr_med.data.synthetic.classes import KINDS
from simclr_med.data.synthetic.dataset import Synthetic


def source(**options) -> Synthetic:
    return Synthetic("synthetic", **({"size": 28, "seed": 0, "train": 160, "val": 40, "test": 24} | options))


def test_the_splits_are_images_of_all_classes() -> None:
    mine = source()
    assert (mine.size, mine.channels, mine.task, len(mine.classes)) == (28, 3, "multi-class", 8)
    for split, count in (("train", 160), ("val", 40), ("test", 24)):
        found = mine.split(split)
        assert (found.images.shape, found.images.dtype) == ((count, 28, 28, 3), np.uint8)
        assert (found.labels.shape, found.labels.dtype) == ((count, 1), np.int64)
        assert set(found.labels[:, 0].tolist()) == set(range(8))


def test_an_image_is_a_function_of_seed_split_and_number() -> None:
    few, many = source(train=50).split("train"), source(train=700).split("train")
    np.testing.assert_array_equal(few.images, many.images[:50])
    np.testing.assert_array_equal(few.labels, many.labels[:50])
    assert (source(seed=1).split("train").images != source().split("train").images).any()
    assert (source(val=160).split("val").images != source().split("train").images).any()


def test_no_two_images_are_alike() -> None:
    images = source().split("train").images
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_every_beginning_has_the_imbalance_of_bloodmnist(count) -> None:
    shares = np.array([kind.share for kind in KINDS])
    assert shares.sum() == 11959
    found = np.bincount(source(train=count).labels("train")[:, 0], minlength=8)
    assert np.abs(found - count * shares / shares.sum()).max() < 3


def test_labels_are_those_of_the_images() -> None:
    np.testing.assert_array_equal(source().labels("val"), source().split("val").labels)


@pytest.mark.parametrize("size", [16, 64])
def test_the_size_is_free(size) -> None:
    assert source(size=size, train=8).split("train").images.shape == (8, size, size, 3)


def test_the_content_hash_follows_each_argument() -> None:
    options = [{}, {"size": 64}, {"seed": 1}, {"train": 161}, {"val": 41}, {"test": 25}]
    assert len({source(**option).content_hash() for option in options}) == len(options)
    assert source().content_hash() == source().content_hash()


def test_the_classes_differ_in_what_they_are_drawn_of() -> None:
    """Each trait that the drawing promises, seen in the averages of many images."""
    mine = source(train=1200).split("train")
    kind = dict(zip(source().classes, range(8), strict=True))
    dark = (mine.images.mean(3) < 0.75 * np.median(mine.images.mean(3), axis=(1, 2), keepdims=True)).mean((1, 2))
    area = {name: dark[mine.labels[:, 0] == k].mean() for name, k in kind.items()}
    assert area["platelet"] < area["erythroblast"] < area["lymphocyte"] < area["immature granulocyte"]
    red = (mine.images[..., 0].astype(float) - mine.images[..., 2])[:, 6:22, 6:22].mean((1, 2))
    assert red[mine.labels[:, 0] == kind["eosinophil"]].mean() > red[mine.labels[:, 0] == kind["basophil"]].mean()
