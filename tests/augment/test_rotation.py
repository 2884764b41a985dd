"""Rotations against PIL and torchvision."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest

from simclr_med.augment.rotation import apply_right_angle_rotation, apply_rotation, right_angle_rotation, rotation
from simclr_med.augment.sequence import to_float

SIZES = [(28, 28), (28, 40), (37, 29), (64, 64)]


@pytest.mark.parametrize(("height", "width"), [(28, 28), (33, 33), (28, 40)])
def test_right_angles_equal_pil(parity, make_pictures, generator, height, width):
    images = make_pictures(24, height, width)
    op = right_angle_rotation(0.75)
    parameters = op.sample(24, height, width, generator)
    assert set(parameters[0].tolist()) == ({0, 1, 2, 3} if height == width else {0, 2})
    ours = op.apply(to_float(images), *parameters)
    assert parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)).max() == 0


def test_right_angles_have_the_given_probability(generator):
    assert not right_angle_rotation(0.0).sample(1000, 28, 28, generator)[0].any()
    (quarters,) = right_angle_rotation(0.6).sample(6000, 28, 28, generator)
    torch.testing.assert_close(quarters.bincount() / 6000, torch.tensor([0.4, 0.2, 0.2, 0.2]), atol=0.03, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_rotation_is_within_one_level_of_torchvision(parity, make_pictures, generator, height, width, p):
    images = make_pictures(24, height, width)
    op = rotation(180.0, p)
    parameters = op.sample(24, height, width, generator)
    deviation = parity.compute_deviation(
        op.apply(to_float(images), *parameters), parity.apply_pil(op, images, parameters)
    )
    assert deviation.max() <= 1
    assert deviation.mean() < 0.02  # only values just below a level differ
    assert deviation[~parameters[0]].sum() == 0


@pytest.mark.parametrize("quarters", range(4))
def test_rotation_by_a_right_angle_equals_the_turn(make_pictures, quarters):
    images, all_rows = to_float(make_pictures(12)), torch.ones(12, dtype=torch.bool)
    turned = apply_right_angle_rotation(images, torch.full((12,), quarters))
    for angle in (90.0 * quarters, 90.0 * quarters - 360.0):
        rotated = apply_rotation(images, all_rows, torch.full((12,), angle))
        torch.testing.assert_close(rotated, turned, atol=1e-6, rtol=0)


def test_angles_are_uniform_and_drawn_per_image(generator):
    rotated, angle = rotation(10.0, 0.3).sample(4000, 28, 28, generator)
    assert float(rotated.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert kstest(angle.numpy(), "uniform", args=(-10.0, 20.0)).pvalue > 1e-3
    assert len(angle.unique()) > 3900


@pytest.mark.parametrize("build", [lambda: rotation(181.0), lambda: rotation(-1.0), lambda: right_angle_rotation(1.1)])
def test_values_out_of_range_are_rejected(build):
    with pytest.raises(ValueError, match="expected"):
        build()
