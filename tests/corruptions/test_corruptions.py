"""Corruptions against PIL, numpy and scipy, their strength by severity, and their random numbers."""

from __future__ import annotations

import colorsys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage

from simclr_med.config.corruptions import VALUES
from simclr_med.corruptions import artefacts, blur, light, noise
from simclr_med.corruptions.draws import Draws
from simclr_med.corruptions.table import COLOUR_ONLY, CORRUPTIONS, corrupt
from simclr_med.safe_files import read_yaml

CONF = Path(__file__).parents[2] / "conf" / "stage" / "base" / "corruptions.yaml"
CPU = torch.device("cpu")
DRAWS = Draws((0,), range(3))


def photo(channels: int = 3, height: int = 28, width: int = 32, count: int = 3) -> np.ndarray:
    """Smooth structures with some noise, uint8 [N, H, W, C]."""
    generator = np.random.default_rng(3)
    drawn = ndimage.gaussian_filter(generator.normal(size=(count, height, width, channels)), (0, 3, 3, 0))
    drawn = 128 + 60 * drawn / drawn.std() + generator.normal(0, 4, drawn.shape)
    return np.clip(drawn, 0, 255).astype(np.uint8)


def as_tensor(images_NHWC: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float() / 255


def as_levels(images_BCHW: torch.Tensor) -> np.ndarray:
    return (images_BCHW.clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()


@cache
def families() -> dict[str, dict[str, Any]]:
    return dict(read_yaml(CONF)["families"])


def test_the_table_has_the_names_of_the_config() -> None:
    assert set(CORRUPTIONS) == set(VALUES)
    assert {name for family in families().values() for name in family} == set(VALUES)


@pytest.mark.parametrize("enhance", [ImageEnhance.Brightness, ImageEnhance.Contrast])
@pytest.mark.parametrize("factor", [0.5, 1.4])
def test_brightness_and_contrast_are_those_of_pil(enhance: type, factor: float) -> None:
    images = photo()
    op = {ImageEnhance.Brightness: light.brightness, ImageEnhance.Contrast: light.contrast}[enhance]
    expected = np.stack([np.asarray(enhance(Image.fromarray(image)).enhance(factor)) for image in images])
    assert np.abs(as_levels(op(as_tensor(images), DRAWS, factor)) - expected).max() < 1.01
    grey = photo(1)
    expected = np.stack([np.asarray(enhance(Image.fromarray(image[..., 0])).enhance(factor)) for image in grey])
    assert np.abs(as_levels(op(as_tensor(grey), DRAWS, factor))[..., 0] - expected).max() < 1.01


def test_gamma_is_that_of_numpy() -> None:
    images = photo()
    assert as_levels(light.gamma(as_tensor(images), DRAWS, 1.6)) == pytest.approx(255 * (images / 255) ** 1.6, abs=1e-3)


def test_saturation_is_that_of_the_standard_library() -> None:
    images = photo(count=1, height=12, width=12)
    images[0, 0, :3] = [[0, 0, 0], [90, 90, 90], [255, 255, 255]]
    changed = light.saturate(as_tensor(images), DRAWS, 0.2)
    for pixel, found in zip(images.reshape(-1, 3) / 255, changed.permute(0, 2, 3, 1).reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        assert found.tolist() == pytest.approx(colorsys.hsv_to_rgb(hue, min(1, saturation + 0.2), value), abs=1e-5)
    with pytest.raises(ValueError, match="these images are grey"):
        light.saturate(as_tensor(photo(1)), DRAWS, 0.2)


def test_the_bias_field_is_a_smooth_factor() -> None:
    images = as_tensor(photo())
    factor = light.bias_field(images, DRAWS, 0.5) / images.clamp(min=1e-6)
    log = factor[:, 0].double().clamp(min=1e-3).log().numpy()
    inside = (images[:, 0] > 0.05).numpy()
    y, x = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 32), indexing="ij")
    terms = np.stack([y**i * x**j for i in range(4) for j in range(4 - i)], -1)
    for image, is_inside in zip(log, inside, strict=True):
        coefficients, *_ = np.linalg.lstsq(terms[is_inside], image[is_inside], rcond=None)
        assert np.abs(terms[is_inside] @ coefficients - image[is_inside]).max() < 1e-4
        assert np.abs(coefficients).max() <= 0.5
        assert np.abs(coefficients).max() > 0.1


def test_a_gaussian_is_that_of_scipy() -> None:
    images = photo(height=64, width=64)
    sigma = 3.5 * 64 / 224
    expected = ndimage.gaussian_filter(images.astype(float), (0, sigma, sigma, 0), mode="mirror")
    assert np.abs(as_levels(blur.gaussian_blur(as_tensor(images), DRAWS, 3.5)) - expected).max() < 1.01


@pytest.mark.parametrize("radius", [4.0, 28.0])
def test_defocus_is_a_convolution_with_a_disc(radius: float) -> None:
    images = photo(height=28, width=32)
    scaled = radius * 28 / 224
    kernel = blur.build_disc(scaled).double().numpy()
    expected = ndimage.convolve(images.astype(float), kernel[None, :, :, None], mode="mirror")
    assert np.abs(as_levels(blur.defocus_blur(as_tensor(images), DRAWS, radius)) - expected).max() < 0.01
    assert kernel.sum() == pytest.approx(1)
    side = np.arange(len(kernel)) - len(kernel) // 2
    assert (kernel * side[:, None] ** 2).sum() == pytest.approx(scaled**2 / 4, abs=0.07)  # second moment of a disc


def test_motion_is_a_weighted_mean_of_shifted_images() -> None:
    images, radius, sigma = photo(), 15.0, 8.0
    angles = (2 * DRAWS.uniform(1)[:, 0].numpy() - 1) * np.pi / 4
    scale = 28 / 224
    distances = np.arange(0, 2 * radius * scale + 0.25, 0.5)
    weights = np.exp(-(distances**2) / (2 * (sigma * scale) ** 2))
    weights /= weights.sum()
    expected = np.zeros(images.shape)
    for index, angle in enumerate(angles):
        for distance, weight in zip(distances, weights, strict=True):
            moved = (distance * np.sin(angle), distance * np.cos(angle), 0)
            expected[index] += weight * ndimage.shift(images[index].astype(float), moved, order=1, mode="nearest")
    assert np.abs(as_levels(blur.motion_blur(as_tensor(images), DRAWS, radius, sigma)) - expected).max() < 0.05
    assert len(set(angles.tolist())) == 3


def test_zoom_is_a_mean_of_enlarged_images() -> None:
    images = photo()
    factors = [1.0, 1.05, 1.1, 1.15]
    expected = images.astype(float)
    centre = (np.array([28, 32]) - 1) / 2
    for factor in factors:
        for index, image in enumerate(images.astype(float)):
            for channel in range(3):
                expected[index, ..., channel] += ndimage.affine_transform(
                    image[..., channel], np.eye(2) / factor, centre - centre / factor, order=1, mode="nearest"
                )
    found = as_levels(blur.zoom_blur(as_tensor(images), DRAWS, 1.15, 0.05))
    assert np.abs(found - expected / (len(factors) + 1)).max() < 0.05


@pytest.mark.parametrize("factor", [0.8, 0.6, 0.35, 0.25, 0.1])
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_are_those_of_pil(factor: float, channels: int) -> None:
    images = photo(channels)
    for image, found in zip(images, as_levels(artefacts.pixelate(as_tensor(images), DRAWS, factor)), strict=True):
        picture = Image.fromarray(image.squeeze())
        small = picture.resize((int(32 * factor), int(28 * factor)), Image.Resampling.BOX)
        expected = np.asarray(small.resize((32, 28), Image.Resampling.BOX)).reshape(image.shape)
        assert np.abs(found - expected).max() < 1.01


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_keeps_the_mean_and_loses_detail(channels: int) -> None:
    images = photo(channels, height=64, width=64)
    saved = [as_levels(artefacts.jpeg_compression(as_tensor(images), DRAWS, quality)) for quality in (95, 7)]
    assert all(abs(levels.mean() - images.mean()) < 2 for levels in saved)
    assert np.abs(saved[0] - images).mean() < 5 < np.abs(saved[1] - images).mean() < 20


@pytest.mark.parametrize("strength", [0.1, 0.3])
def test_noise_has_its_moments(strength: float) -> None:
    half = torch.full((4, 3, 64, 64), 0.5)
    draws = Draws((1,), range(4))
    added = noise.gaussian_noise(half, draws, strength) - half
    assert (float(added.mean()), float(added.std())) == pytest.approx((0, strength), abs=0.01)
    assert float((noise.speckle_noise(half, draws, strength) - half).std()) == pytest.approx(strength / 2, abs=0.01)
    replaced = noise.impulse_noise(half, draws, strength)
    assert float((replaced == 0).float().mean()) == pytest.approx(strength / 2, abs=0.01)
    assert float((replaced == 1).float().mean()) == pytest.approx(strength / 2, abs=0.01)
    counted = noise.shot_noise(half, draws, 50)
    assert (float(counted.mean()), float(counted.var())) == pytest.approx((0.5, 0.5 / 50), abs=0.002)
    assert torch.equal((counted * 50).round() / 50, counted)


def test_artefacts_change_what_they_cover() -> None:
    images = torch.full((3, 3, 224, 224), 0.5)
    draws = Draws((1,), range(3))
    bubbles = artefacts.bubble(images, draws, 17, 25)
    assert float(bubbles.max()) == pytest.approx(0.5 + 0.5 * 130 / 255, abs=1e-6)
    inner = (bubbles - (0.5 + 0.5 * 100 / 255)).abs() < 1e-6
    assert inner.sum() > 900
    assert 0.005 < float((bubbles > 0.5).float().mean()) < 0.6
    stains = artefacts.stain_deposit(images, draws, 5)
    assert float(stains.min()) == 0
    assert 0.002 < float((stains < 0.25).float().mean()) < 0.2
    corners = artefacts.black_corner(images, draws, 1.0)
    assert float((corners > 0.25).float().mean()) == pytest.approx(np.pi / 4, abs=0.005)


@pytest.mark.parametrize("family", sorted(families()))
def test_the_strongest_severity_changes_more_than_the_weakest(family: str) -> None:
    colour = any(name in COLOUR_ONLY for name in families()[family])
    images = photo(3 if colour else 1, height=64, width=64, count=8)
    for name, values in families()[family].items():
        assert len(values) == 5
        changed = [
            np.abs(
                corrupt(images, range(8), name, severity, list(np.atleast_1d(values[severity - 1])), 0, CPU).astype(int)
                - images
            ).mean()
            for severity in (1, 5)
        ]
        assert changed[0] < changed[1], (family, name, changed)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_an_image_does_not_depend_on_its_batch(name: str) -> None:
    values = next(family[name] for family in families().values() if name in family)
    strongest = list(np.atleast_1d(values[-1]))
    images = photo(count=6)
    whole = corrupt(images, range(6), name, 5, strongest, 0, CPU)
    part = corrupt(images[[4, 1]], [4, 1], name, 5, strongest, 0, CPU)
    assert np.abs(part.astype(int) - whole[[4, 1]]).max() <= (1 if "blur" in name else 0)
    other = corrupt(images, range(6), name, 5, strongest, 1, CPU)
    is_random = name.endswith("noise") or name in ("motion_blur", "bias_field", "stain_deposit", "bubble")
    assert (not np.array_equal(whole, other)) == is_random
    assert whole.dtype == np.uint8
    assert whole.shape == images.shape
