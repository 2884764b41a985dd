"""Gaussian noise and random erasing against NumPy and torchvision."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import RandomErasing

from simclr_med.augment.noise import apply_gaussian_noise, gaussian_noise, hash_pixels, random_erasing
from simclr_med.augment.sequence import to_float

SCALE, RATIO = (0.02, 0.4), (0.3, 1 / 0.3)
SIZES = [(28, 28), (28, 40), (37, 29), (64, 64)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_noise_equals_the_reference(parity, make_pictures, generator, height, width):
    images = make_pictures(24, height, width)
    op = gaussian_noise((0.0, 0.2), 0.7)
    parameters = op.sample(24, height, width, generator)
    deviation = parity.compute_deviation(
        op.apply(to_float(images), *parameters), parity.apply_pil(op, images, parameters)
    )
    assert deviation.max() <= 1
    assert deviation.mean() < 1e-3  # only rounding ties differ
    assert deviation[~parameters[0]].sum() == 0


def test_noise_is_normal_and_independent_between_pixels_and_images(generator):
    noisy, std, number = gaussian_noise((0.1, 0.1), 1.0).sample(64, 32, 32, generator)
    noise = apply_gaussian_noise(torch.full((64, 3, 32, 32), 128 / 255), noisy, std, number).sub_(128 / 255)
    assert torch.equal(noise[:, :1].expand_as(noise), noise)
    noise = noise[:, 0]
    assert float(noise.mean()) == pytest.approx(0.0, abs=2e-3)
    assert float(noise.std()) == pytest.approx(0.1, abs=1e-3)
    # the jitter undoes the rounding to levels
    jitter = torch.rand(noise.shape, generator=generator).sub_(0.5).div_(255)
    sample = (noise + jitter).flatten()[:4000].div(0.1)
    assert kstest(sample.numpy(), "norm").pvalue > 1e-3
    for one, two in ((noise[:, 1:], noise[:, :-1]), (noise[..., 1:], noise[..., :-1]), (noise[1:], noise[:-1])):
        correlation = torch.corrcoef(torch.stack((one.flatten(), two.flatten())))[0, 1]
        assert abs(float(correlation)) < 0.02


def test_hash_has_uniform_bytes_for_neighbouring_numbers():
    bits = hash_pixels(torch.arange(64), 32, 32)
    assert int(bits.min()) >= 0
    assert int(bits.max()) < 2**32
    for shift in (0, 8, 16, 24):
        assert chisquare((bits >> shift & 255).flatten().bincount(minlength=256).numpy()).pvalue > 1e-3
    assert len(bits.unique()) > 0.999 * bits.numel()


def test_noise_has_the_given_probability_and_standard_deviations(generator):
    noisy, std, number = gaussian_noise((0.02, 0.1), 0.3).sample(4000, 28, 28, generator)
    assert float(noisy.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert kstest(std.numpy(), "uniform", args=(0.02, 0.08)).pvalue > 1e-3
    assert len(number.unique()) == 4000


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_erasing_equals_torchvision(parity, make_pictures, generator, height, width):
    images = make_pictures(24, height, width)
    op = random_erasing(SCALE, RATIO, 0.7)
    parameters = op.sample(24, height, width, generator)
    assert 0 < parameters[0].sum() < 24
    ours = op.apply(to_float(images), *parameters)
    assert parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)).max() == 0


@pytest.mark.parametrize(("height", "width"), [(28, 28), (40, 60)])
def test_erased_boxes_have_the_distribution_of_torchvision(generator, height, width):
    """torchvision's ratio is height divided by width; the range is its own inverse."""
    count = 3000
    erased, top, left, rows, columns, _ = random_erasing(SCALE, RATIO, 1.0).sample(count, height, width, generator)
    assert bool(erased.all())
    torch.manual_seed(3)
    blank = torch.empty(3, height, width)
    theirs = torch.tensor([RandomErasing.get_params(blank, SCALE, RATIO, [0.0])[:4] for _ in range(count)])
    pairs = {
        "area": (rows * columns, theirs[:, 2] * theirs[:, 3]),
        "ratio": (columns / rows, theirs[:, 3] / theirs[:, 2]),
        "top": (top, theirs[:, 0]),
        "left": (left, theirs[:, 1]),
    }
    for name, (ours, reference) in pairs.items():
        assert ks_2samp(ours.numpy(), reference.numpy()).pvalue > 1e-3, name


def test_images_stay_whole_where_no_box_fits(make_pictures, generator):
    op, images = random_erasing((0.9, 1.0), (50.0, 60.0), 1.0), to_float(make_pictures(6))
    parameters = op.sample(6, 28, 28, generator)
    assert not parameters[0].any()
    assert torch.equal(op.apply(images, *parameters), images)


@pytest.mark.parametrize(
    "build",
    [
        lambda: gaussian_noise((-0.1, 0.2), 0.5),
        lambda: gaussian_noise((0.2, 0.1), 0.5),
        lambda: gaussian_noise((0.0, 0.1), 1.5),
        lambda: random_erasing((0.0, 0.4), RATIO, 0.5),
        lambda: random_erasing(SCALE, (0.0, 1.0), 0.5),
        lambda: random_erasing(SCALE, RATIO, -0.5),
    ],
)
def test_values_out_of_range_are_rejected(build):
    with pytest.raises(ValueError, match="expected"):
        build()
