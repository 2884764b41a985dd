"""Flips and crop against PIL and torchvision."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from simclr_med.augment.geometry import apply_crop, horizontal_flip, random_resized_crop, vertical_flip
from simclr_med.augment.sequence import to_float

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
SIZES = [(28, 28), (28, 40), (37, 29), (64, 64), (128, 128)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("flip", [horizontal_flip, vertical_flip])
def test_flips_equal_those_of_pil(parity, make_pictures, generator, height, width, flip):
    images = make_pictures(16, height, width)
    op = flip(0.5)
    parameters = op.sample(16, height, width, generator)
    assert 0 < parameters[0].sum() < 16
    ours = op.apply(to_float(images), *parameters)
    assert parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)).max() == 0


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("size", [None, 20, 64])
def test_crop_is_within_one_level_of_pil(parity, make_pictures, generator, height, width, size):
    images = make_pictures(24, height, width)
    op = random_resized_crop(SCALE, RATIO, size)
    parameters = op.sample(24, height, width, generator)
    ours = op.apply(to_float(images), *parameters)
    deviation = parity.compute_deviation(ours, parity.apply_pil(op, images, parameters))
    assert deviation.max() <= 1
    assert deviation.mean() < 0.1


def test_crop_at_28_px_is_within_rounding_of_pil(parity, make_pictures, generator):
    images = make_pictures(96)
    op = random_resized_crop(SCALE, RATIO)
    parameters = op.sample(96, 28, 28, generator)
    deviation = parity.compute_deviation(
        op.apply(to_float(images), *parameters), parity.apply_pil(op, images, parameters)
    )
    assert deviation.max() <= 1
    assert deviation.mean() < 0.02  # only rounding ties differ


def test_crop_of_the_whole_image_is_the_image(make_pictures):
    images = to_float(make_pictures(8))
    zero, full = torch.zeros(8, dtype=torch.long), torch.full((8,), 28)
    assert torch.equal(apply_crop(images, zero, zero, full, full), images)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (20, 60)])
def test_boxes_have_the_distribution_of_torchvision(generator, height, width):
    count = 3000
    top, left, rows, columns = random_resized_crop(SCALE, RATIO).sample(count, height, width, generator)
    assert 0 <= int(top.min()) <= int((top + rows).max()) <= height
    assert 0 <= int(left.min()) <= int((left + columns).max()) <= width
    assert min(int(rows.min()), int(columns.min())) >= 1
    torch.manual_seed(3)
    blank = torch.empty(3, height, width)
    theirs = torch.tensor([RandomResizedCrop.get_params(blank, list(SCALE), list(RATIO)) for _ in range(count)])
    pairs = {
        "area": (rows * columns, theirs[:, 2] * theirs[:, 3]),
        "ratio": (columns / rows, theirs[:, 3] / theirs[:, 2]),
        "top": (top, theirs[:, 0]),
        "left": (left, theirs[:, 1]),
        "bottom": (height - top - rows, height - theirs[:, 0] - theirs[:, 2]),
    }
    for name, (ours, reference) in pairs.items():
        assert ks_2samp(ours.numpy(), reference.numpy()).pvalue > 1e-3, name


@pytest.mark.parametrize(("height", "width", "ratio"), [(28, 28, (5.0, 6.0)), (10, 90, RATIO), (90, 10, RATIO)])
def test_fallback_equals_the_central_box_of_torchvision(generator, height, width, ratio):
    # a box of the whole area whose ratio differs from the image's never fits
    boxes = random_resized_crop((1.0, 1.0), ratio).sample(5, height, width, generator)
    theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), [1.0, 1.0], list(ratio))
    assert [values.tolist() for values in boxes] == [[value] * 5 for value in theirs]


def test_ratio_is_log_uniform(generator):
    _, _, rows, columns = random_resized_crop((0.1, 0.3), (0.5, 2.0)).sample(4000, 2000, 2000, generator)
    logs = (columns / rows).log()
    assert abs(float(logs.mean())) < 0.03
    assert float(logs.max()) == pytest.approx(math.log(2.0), abs=0.01)


@pytest.mark.parametrize("flip", [horizontal_flip, vertical_flip])
def test_flips_have_the_given_probability(generator, flip):
    assert not flip(0.0).sample(1000, 28, 28, generator)[0].any()
    assert flip(1.0).sample(1000, 28, 28, generator)[0].all()
    assert float(flip(0.5).sample(4000, 28, 28, generator)[0].float().mean()) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    "build",
    [
        lambda: horizontal_flip(1.1),
        lambda: vertical_flip(-0.1),
        lambda: random_resized_crop((0.0, 1.0), RATIO),
        lambda: random_resized_crop((0.5, 1.1), RATIO),
        lambda: random_resized_crop((0.9, 0.5), RATIO),
        lambda: random_resized_crop(SCALE, (0.0, 1.0)),
    ],
)
def test_values_out_of_range_are_rejected(build):
    with pytest.raises(ValueError, match="expected"):
        build()
