"""Traces of interpolation are found in enlarged images and not in others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folder_sources import build_folder
from PIL import Image

from simclr_med.data.interpolation import LEAST_SIDE, measure_interpolation


def sharp(count: int, side: int, seed: int = 0) -> np.ndarray:
    """uint8 [count, side, side] of a spectrum that falls as those of photographs do."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    spectrum = np.fft.fft2(generator.normal(size=(count, side, side))) / np.maximum(frequency, 1 / side)
    images = np.fft.ifft2(spectrum).real
    images = (images - images.mean(axis=(1, 2), keepdims=True)) / images.std(axis=(1, 2), keepdims=True)
    return np.clip(128 + 40 * images, 0, 255).astype(np.uint8)


def resized(images: np.ndarray, side: int, how: Image.Resampling) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), how)) for image in images])


@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("side", [64, 100])
def test_enlarged_images_are_regular_and_smooth(how: Image.Resampling, side: int) -> None:
    plain = measure_interpolation(sharp(40, side))
    enlarged = measure_interpolation(resized(sharp(40, 28 if side == 64 else 44, 1), side, how))
    assert np.median(enlarged[:, 0]) > plain[:, 0].max()
    assert np.median(enlarged[:, 1]) < plain[:, 1].min()
    assert (enlarged[:, 2] == side).all()


def test_shrunken_images_have_no_traces() -> None:
    plain = measure_interpolation(sharp(40, 64))
    shrunken = measure_interpolation(resized(sharp(40, 150, 1), 64, Image.Resampling.BILINEAR))
    assert shrunken[:, 0].max() < 4
    assert np.median(shrunken[:, 1]) > np.median(plain[:, 1]) - 0.5


def test_small_constant_and_large_images() -> None:
    small = measure_interpolation(sharp(3, LEAST_SIDE - 1))
    assert np.isnan(small[:, :2]).all()
    assert (small[:, 2] == LEAST_SIDE - 1).all()
    assert np.isfinite(measure_interpolation(np.full((2, 40, 50), 7.0))).all()
    assert measure_interpolation(sharp(2, 300))[:, 2].tolist() == [300, 300]


def test_files_are_measured_at_their_own_size(tmp_path: Path) -> None:
    for number, image in enumerate([*sharp(3, 64), *sharp(3, 40, 1)]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    source = build_folder(tmp_path, size=28)
    names = source.names("train")
    found = source.interpolation("train")
    assert [int(side) for side in found[:, 2]] == [64 if int(name[0]) < 3 else 40 for name in names]
    whole = measure_interpolation(np.asarray(Image.open(tmp_path / names[0]), float)[None])
    assert found[0] == pytest.approx(whole[0], rel=1e-4)
