"""Blur, equalisation and sharpness against PIL and torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from simclr_med.augment.filters import build_equalize_table, compute_kernel_width, equalize, gaussian_blur, sharpness
from simclr_med.augment.sequence import to_float

SIZES = [(28, 28), (28, 40), (37, 29), (64, 64), (128, 128)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_blur_is_within_one_level_of_torchvision(parity, make_pictures, generator, height, width, p):
    images = make_pictures(12, height, width)
    op = gaussian_blur(9 / 28, (0.1, 2.0), p=p, reference_side=28)
    parameters = op.sample(12, height, width, generator)
    ours = op.apply(to_float(images), *parameters)
    deviation = parity.compute_deviation(ours, parity.apply_pil(op, images, parameters))
    assert deviation.max() <= 1
    assert deviation.mean() < 0.001


@pytest.mark.parametrize(
    ("share", "side", "expected"),
    [
        (9 / 28, 28, 9),
        (9 / 28, 64, 21),
        (9 / 28, 128, 41),
        (9 / 28, 224, 73),
        (0.1, 64, 7),
        (0.1, 128, 13),
        (0.1, 224, 23),
    ],
)
def test_kernel_width_grows_with_the_side(share, side, expected):
    assert compute_kernel_width(share, side) == expected
    assert abs(expected - share * side) <= 1.0


def test_sigma_grows_with_the_side_from_the_reference_side(make_pictures):
    images = to_float(make_pictures(6, 56, 56))
    always, sigma = torch.ones(6, dtype=torch.bool), torch.full((6,), 0.8)
    scaled = gaussian_blur(9 / 28, (0.1, 2.0), reference_side=28).apply(images, always, sigma)
    plain = gaussian_blur(9 / 28, (0.1, 2.0)).apply(images, always, 2 * sigma)
    assert torch.equal(scaled, plain)


def test_images_up_to_above_side_are_not_blurred(make_pictures, generator):
    op = gaussian_blur(0.1, (0.1, 2.0), p=1.0, above_side=32)
    small, large = to_float(make_pictures(6, 32, 32)), to_float(make_pictures(6, 33, 33))
    parameters = op.sample(6, 32, 32, generator)
    assert torch.equal(op.apply(small, *parameters), small)
    assert not torch.equal(op.apply(large, *parameters), large)


def test_sigma_is_uniform_and_drawn_per_image(generator):
    blurred, sigma = gaussian_blur(9 / 28, (0.1, 2.0), p=0.5).sample(4000, 28, 28, generator)
    assert float(blurred.float().mean()) == pytest.approx(0.5, abs=0.04)
    assert 0.1 <= float(sigma.min()) < float(sigma.max()) <= 2.0
    assert float(sigma.mean()) == pytest.approx(1.05, abs=0.04)
    assert len(sigma.unique()) > 3900


@pytest.mark.parametrize("side", [17, 28, 64])
def test_equalisation_table_equals_pil(make_pictures, side):
    luma = [Image.fromarray(image).convert("L") for image in make_pictures(48, side, side).numpy()]
    # few levels and a full highest bin: these cover every step, including 0
    luma += [
        image.point(lambda value, cut=cut: 255 if value > cut else value // 8) for cut in (8, 90) for image in luma[:24]
    ]
    levels = torch.stack([torch.from_numpy(np.array(image)).flatten().long() for image in luma])
    ours = build_equalize_table(levels).gather(1, levels)
    theirs = torch.stack([torch.from_numpy(np.array(ImageOps.equalize(image))).flatten().long() for image in luma])
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_equalise_is_within_two_levels_of_pil(parity, make_pictures, generator, height, width):
    images = make_pictures(18, height, width)
    op = equalize(0.7)
    parameters = op.sample(18, height, width, generator)
    deviation = parity.compute_deviation(
        op.apply(to_float(images), *parameters), parity.apply_pil(op, images, parameters)
    )
    assert deviation.max() <= 2
    assert deviation.mean() < 0.1
    assert deviation[~parameters[0]].max() == 0


def test_equalisation_step_zero_is_the_identity(make_pictures):
    levels = torch.full((2, 784), 200)
    levels[1, :254] = torch.arange(254) % 120  # 254 pixels below the top bin: step 0
    assert torch.equal(build_equalize_table(levels), torch.arange(256).expand(2, -1))
    levels[1, 254] = 3  # one more: step 1
    assert not torch.equal(build_equalize_table(levels)[1], torch.arange(256))
    # through RGB, a constant grey image changes by the truncation of YCbCr alone
    op, grey = equalize(1.0), torch.full((1, 3, 28, 28), 77 / 255)
    assert float((op.apply(grey, torch.ones(1, dtype=torch.bool)) - grey).abs().max()) <= 1.001 / 255


def test_equalisation_step_zero_in_colour_is_within_two_levels_of_pil(parity):
    image = torch.full((1, 28, 28, 3), 255, dtype=torch.uint8)
    image[0, :9, :, 0] = torch.arange(252, dtype=torch.uint8).view(9, 28) // 2
    op, always = equalize(1.0), (torch.ones(1, dtype=torch.bool),)
    assert parity.compute_deviation(op.apply(to_float(image), *always), parity.apply_pil(op, image, always)).max() <= 2


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sharpness_is_within_one_level_of_pil(parity, make_pictures, generator, height, width):
    images = make_pictures(18, height, width)
    op = sharpness((0.0, 10.0))
    parameters = op.sample(18, height, width, generator)
    parameters[0][:6] = torch.tensor([0.0, 0.3, 0.8, 1.0, 1.7, 10.0])
    ours = op.apply(to_float(images), *parameters)
    deviation = parity.compute_deviation(ours, parity.apply_pil(op, images, parameters))
    assert deviation.max() <= 1
    assert deviation.mean() < 0.01
    border = torch.ones(height, width, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert torch.equal(ours[..., border], to_float(images)[..., border])


def test_grey_images_stay_grey(make_pictures, generator):
    grey = to_float(make_pictures(48)[3::6])
    for op in (gaussian_blur(9 / 28, (0.1, 2.0)), equalize(1.0), sharpness((1.0, 10.0))):
        result = op.apply(grey, *op.sample(len(grey), 28, 28, generator))
        assert torch.equal(result, result[:, :1].expand_as(result))


@pytest.mark.parametrize(
    "build",
    [
        lambda: gaussian_blur(1.0, (0.1, 2.0)),
        lambda: gaussian_blur(0.1, (0.0, 2.0)),
        lambda: gaussian_blur(0.1, (2.0, 1.0)),
        lambda: equalize(-0.1),
        lambda: sharpness((-1.0, 2.0)),
    ],
)
def test_values_out_of_range_are_rejected(build):
    with pytest.raises(ValueError, match="expected"):
        build()
