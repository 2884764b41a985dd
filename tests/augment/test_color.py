"""Colour jitter, random grayscale and solarisation against PIL and torchvision."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare, ks_2samp
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as tv

from simclr_med.augment.color import (
    HUE,
    apply_color_jitter,
    channel_jitter,
    color_jitter,
    random_grayscale,
    shift_hue,
    solarize,
)
from simclr_med.augment.sequence import to_float

NAMES = ("brightness", "contrast", "saturation", "hue")
IDENTITY = torch.tensor([1.0, 1.0, 1.0, 0.0])


def apply_one_operation(images, operation, factor):
    """Apply one operation of the jitter; the other three are the identity."""
    count = len(images)
    factors = IDENTITY.repeat(count, 1)
    factors[:, operation] = factor
    order = torch.stack([torch.randperm(4, generator=torch.Generator().manual_seed(i)) for i in range(count)])
    return apply_color_jitter(to_float(images), torch.ones(count, dtype=torch.bool), order, factors)


def apply_pil_operation(images, operation, factor):
    adjust = getattr(tv, f"adjust_{NAMES[operation]}")
    return torch.stack([torch.from_numpy(np.array(adjust(Image.fromarray(image), factor))) for image in images.numpy()])


@pytest.mark.parametrize("operation", range(3), ids=NAMES[:3])
@pytest.mark.parametrize("factor", [0.0, 0.25, 0.5, 0.83, 1.0, 1.37, 1.5, 2.0])
def test_blends_are_within_one_level_of_pil(parity, make_pictures, operation, factor):
    images = make_pictures(18, 28, 31)
    deviation = parity.compute_deviation(
        apply_one_operation(images, operation, factor), apply_pil_operation(images, operation, factor)
    )
    assert deviation.max() <= 1
    assert deviation.mean() < 0.01


def test_hue_is_close_to_the_eight_bit_hue_of_pil(parity, make_pictures):
    """PIL truncates hue and shift to 1/255 of a turn, 6 levels each for a pure colour; stains are half as pure."""
    smooth = make_pictures(36)[1::6].float()
    grey = smooth.mean(3, keepdim=True)
    images = (grey + 0.45 * (smooth - grey)).round().to(torch.uint8)
    deviations = [
        parity.compute_deviation(apply_one_operation(images, HUE, turns), apply_pil_operation(images, HUE, turns))
        for turns in (-0.1, -0.063, -0.037, -0.012, 0.011, 0.04, 0.071, 0.1)
    ]
    assert torch.stack(deviations).max() <= 6
    assert torch.stack(deviations).mean() <= 0.5


@pytest.mark.parametrize("turns", [-0.5, -0.2, 0.0, 0.04, 0.1, 0.49])
def test_hue_equals_torchvision_in_floating_point(make_pictures, turns):
    images = to_float(make_pictures(36))
    expected = tv.adjust_hue(images, turns)
    torch.testing.assert_close(shift_hue(images, torch.full((36,), turns)), expected, atol=1e-5, rtol=0)


def test_every_order_is_within_one_level_of_pil(parity, make_pictures):
    """The batch holds all 24 orders. The hue is the identity: its 8-bit rounding in PIL differs from ours."""
    orders = torch.tensor(list(permutations(range(4))))
    images = make_pictures(24)
    factors = torch.tensor([0.7, 1.4, 0.6, 0.0]).repeat(24, 1)
    ours = apply_color_jitter(to_float(images), torch.ones(24, dtype=torch.bool), orders, factors)
    reference = []
    for image, order in zip(images, orders.tolist(), strict=True):
        for operation in order:
            if operation != HUE:
                image = apply_pil_operation(image[None], operation, float(factors[0, operation]))[0]
        reference.append(image)
    assert parity.compute_deviation(ours, torch.stack(reference)).max() <= 1
    assert ours.unique(dim=0).shape[0] == 24


def test_hue_step_keeps_its_position_in_the_order(make_pictures, generator):
    """The reference is torchvision on float tensors, image by image, with its clamping after each operation."""
    images = make_pictures(48)
    active, order, factors = color_jitter(0.5, 0.5, 0.5, 0.1, 1.0).sample(48, 28, 28, generator)
    ours = apply_color_jitter(to_float(images), active, order, factors)
    for i, image in enumerate(to_float(images)):
        for operation in order[i].tolist():
            image = getattr(tv, f"adjust_{NAMES[operation]}")(image, float(factors[i, operation]))
        # three truncations, each followed by factors of at most 1.5
        assert float((ours[i] - image).abs().max()) < 12 / 255


def test_inactive_images_stay_unchanged(make_pictures):
    images = to_float(make_pictures(6))
    op = color_jitter(0.5, 0.5, 0.5, 0.1, 0.0)
    parameters = op.sample(6, 28, 28, torch.Generator().manual_seed(0))
    assert torch.equal(op.apply(images, *parameters), images)


def test_factors_have_the_distribution_of_torchvision(generator):
    count = 3000
    active, order, factors = color_jitter(0.5, 1.2, 0.3, 0.1, 0.8).sample(count, 28, 28, generator)
    assert float(active.float().mean()) == pytest.approx(0.8, abs=0.03)
    torch.manual_seed(5)
    jitter = ColorJitter(0.5, 1.2, 0.3, 0.1)
    bounds = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    theirs = torch.tensor([jitter.get_params(*bounds)[1:] for _ in range(count)])
    for operation, name in enumerate(NAMES):
        assert ks_2samp(factors[:, operation].numpy(), theirs[:, operation].numpy()).pvalue > 1e-3, name
        assert (
            bounds[operation][0] <= factors[:, operation].min() <= factors[:, operation].max() <= bounds[operation][1]
        )
    correlations = torch.corrcoef(torch.cat([factors, active[:, None].float(), order.float()], dim=1).T)[:5, :5]
    assert float((correlations - torch.eye(5)).abs().max()) < 0.08


def test_every_order_is_equally_likely(generator):
    _, order, _ = color_jitter(0.5, 0.5, 0.5, 0.1, 0.8).sample(4800, 28, 28, generator)
    codes, counts = (order * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_counts=True)
    assert len(codes) == 24
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_grayscale_is_within_one_level_of_pil(parity, make_pictures, generator):
    images = make_pictures(48, 33, 28)
    op = random_grayscale(0.5)
    parameters = op.sample(48, 33, 28, generator)
    ours = op.apply(to_float(images), *parameters)
    assert parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)).max() <= 1
    assert torch.equal(ours[~parameters[0]], to_float(images)[~parameters[0]])


@pytest.mark.parametrize("threshold", [0, 128, 255])
def test_solarize_equals_pil(parity, make_pictures, generator, threshold):
    images = make_pictures(48, 33, 28)
    op = solarize(threshold, 0.5)
    parameters = op.sample(48, 33, 28, generator)
    assert 0 < parameters[0].sum() < 48
    ours = op.apply(to_float(images), *parameters)
    assert parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)).max() == 0


def test_grey_images_stay_grey(make_pictures, generator):
    grey = to_float(make_pictures(48)[3::6])
    for op in (color_jitter(0.8, 0.8, 0.8, 0.2, 1.0), random_grayscale(1.0)):
        result = op.apply(grey, *op.sample(len(grey), 28, 28, generator))
        assert torch.equal(result, result[:, :1].expand_as(result))


@pytest.mark.parametrize("values", [(-0.1, 0, 0, 0, 1), (0, 0, 0, 0.6, 1), (0, 0, 0, 0, 1.5)])
def test_values_out_of_range_are_rejected(values):
    with pytest.raises(ValueError, match="expected"):
        color_jitter(*values)


@pytest.mark.parametrize(("threshold", "p"), [(-1, 0.5), (256, 0.5), (128, 1.1)])
def test_solarize_values_out_of_range_are_rejected(threshold, p):
    with pytest.raises(ValueError, match="expected"):
        solarize(threshold, p)


@pytest.mark.parametrize("size", [(28, 28), (33, 17)])
def test_channel_jitter_equals_pil_on_each_channel(parity, make_pictures, generator, size):
    images = make_pictures(48, *size)
    op = channel_jitter(0.8, 0.8, 0.7)
    parameters = op.sample(48, *size, generator)
    assert 0 < parameters[0].sum() < 48
    ours = op.apply(to_float(images), *parameters)
    assert parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)).max() <= 1 / 255 + 1e-6
    assert (parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)) > 0).float().mean() < 0.01


@pytest.mark.parametrize("values", [(-0.1, 0, 1), (0, -0.1, 1), (0, 0, 1.5)])
def test_channel_jitter_values_out_of_range_are_rejected(values):
    with pytest.raises(ValueError, match="expected"):
        channel_jitter(*values)
