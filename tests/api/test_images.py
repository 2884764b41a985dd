"""Images of NumPy, PIL and torch become the same uint8 arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from simclr_med.api.images import as_uint8, transform

COLOUR = np.random.default_rng(0).integers(0, 256, (4, 12, 10, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]


@pytest.mark.parametrize(
    "images",
    [
        COLOUR,
        list(COLOUR),
        [Image.fromarray(image) for image in COLOUR],
        [Image.fromarray(image).convert("RGBA") for image in COLOUR],
        COLOUR / 255,
        (COLOUR / 255).astype(np.float32),
        torch.from_numpy(COLOUR),
        torch.from_numpy(COLOUR).permute(0, 3, 1, 2),
        torch.from_numpy(COLOUR).permute(0, 3, 1, 2) / 255,
        list(torch.from_numpy(COLOUR).permute(0, 3, 1, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_form_of_colour_images_is_the_same(images: Any) -> None:
    np.testing.assert_array_equal(as_uint8(images), COLOUR)


@pytest.mark.parametrize(
    "images",
    [
        GREY,
        GREY[..., None],
        list(GREY),
        [Image.fromarray(image) for image in GREY],
        torch.from_numpy(GREY),
        torch.from_numpy(GREY)[:, None],
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_form_of_grey_images_is_the_same(images: Any) -> None:
    np.testing.assert_array_equal(as_uint8(images), GREY[..., None])


def test_arrays_are_not_copied() -> None:
    assert as_uint8(COLOUR) is COLOUR


def test_transform_gives_what_an_encoder_takes() -> None:
    found = transform([Image.fromarray(image) for image in GREY])
    assert (found.dtype, found.shape) == (torch.float32, (4, 3, 12, 10))
    np.testing.assert_allclose(found[:, 2], GREY / 255, atol=1e-7)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "at least one image"),
        (Image.fromarray(GREY[0]), r"found one\. Put it into a list"),
        (COLOUR[0], r"images=\[12, 10, 3\]: expected several images\. Put one into a list\."),
        ([COLOUR[0], COLOUR[1][:5]], r"expected one size, found \(5, 10, 3\) and \(12, 10, 3\)"),
        (COLOUR.astype(np.int64), r"images=int64 \[4, 12, 10, 3\]: expected uint8 in \[0, 255\] or floats"),
        (COLOUR.astype(float), "expected floats in .0, 1., found 0 to 255"),
        (np.full((1, 4, 4), np.nan), "found nan to nan"),
        (np.zeros((2, 4), np.uint8), r"expected \[N, H, W\]"),
        (np.zeros((2, 4, 4, 5), np.uint8), r"expected \[N, H, W\]"),
        (np.zeros((0, 4, 4), np.uint8), r"expected \[N, H, W\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_wrong_with_images_is_one_line(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        as_uint8(images)
    assert "\n" not in str(caught.value)
