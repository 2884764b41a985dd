"""Values of more than 8 bits: rules, the measured range, what is said about it, and what stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from folder_sources import build_folder
from PIL import Image

from simclr_med.data import deep_images
from simclr_med.data.intensity import DeepImage, Scale, measure_range, reduce_to_8_bits, sample_spread
from simclr_med.errors import DataError

WHOLE = {"channels": 1, "val_fraction": 0.0, "test_fraction": 0.0}


def write_tiffs(root: Path, highest: int, count: int = 20, lowest: int = 0) -> Path:
    """Write noise images of 16 bits."""
    rng = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    for number in range(count):
        tifffile.imwrite(root / f"{number:02}.tif", rng.integers(lowest, highest + 1, (8, 8)).astype(np.uint16))
    return root


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (Scale("full"), [0, 0, 4, 255]),
        (Scale("per_image"), [0, 0, 4, 255]),
        (Scale("window", (0.0, 1000.0)), [0, 26, 255, 255]),
        (Scale("dataset", (100.0, 1100.0)), [0, 0, 230, 255]),
    ],
)
def test_rules(scale: Scale, expected: list[int]) -> None:
    values = np.array([[0, 100], [1000, 65535]], np.uint16)
    assert reduce_to_8_bits(DeepImage(values), scale).reshape(-1).tolist() == expected
    turned = DeepImage(values.astype(np.float32), is_inverted=True)
    assert reduce_to_8_bits(turned, scale).reshape(-1).tolist() == [255 - value for value in expected]


def test_a_few_extreme_pixels_do_not_set_the_range() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(100, 4001, (64, 64)).astype(np.uint16) for _ in range(20)]
    images[3][5, 5] = 65535
    found = measure_range(sample_spread(DeepImage(image)) for image in images)
    assert 100 <= found.low < 110
    assert 3990 < found.high <= 4000
    assert (found.largest, found.measured, found.flat_in_dataset, found.flat_in_full) == (65535, 20, 0, 20)


def test_constant_images_have_a_range() -> None:
    found = measure_range([sample_spread(DeepImage(np.full((4, 4), 7, np.uint16)))])
    assert (found.low, found.high, found.largest) == (7, 7, 7)
    assert not reduce_to_8_bits(DeepImage(np.full((4, 4), 7)), Scale("dataset", (7.0, 7.0))).any()


def test_12_bits_are_not_black_by_default_and_the_range_is_said(tmp_path: Path) -> None:
    mine = build_folder(write_tiffs(tmp_path / "a", 4095), intensity="dataset", **WHOLE)
    images = mine.split("train").images
    assert images.min() == 0
    assert images.max() == 255
    (fact,) = mine.remarks().facts
    assert fact.startswith("20 images with more than 8 bits: ")
    assert "become 0 to 255 (dataset.intensity=dataset, measured on 20 training images)." in fact
    assert mine.remarks().warnings == ()


def test_said_window_gives_the_same_images(tmp_path: Path) -> None:
    mine = build_folder(write_tiffs(tmp_path / "a", 4000, lowest=1000), intensity="dataset", **WHOLE)
    (fact,) = mine.remarks().facts
    center, width = map(float, fact.partition("dataset.window=[")[2].removesuffix("].").split(","))
    other = build_folder(tmp_path / "a", intensity="window", window=[center, width], **WHOLE)
    difference = mine.split("train").images.astype(int) - other.split("train").images
    assert np.abs(difference).max() <= 1
    assert mine.content_hash() != other.content_hash()


def test_full_range_of_12_bits_warns_and_names_the_key(tmp_path: Path) -> None:
    mine = build_folder(write_tiffs(tmp_path / "a", 4095), **WHOLE)
    assert mine.split("train").images.max() <= 16
    (warning,) = mine.remarks().warnings
    assert "the largest value of the 16-bit images is 4,09" in warning
    assert "of 65,535, so they are nearly black. Use dataset.intensity=dataset." in warning
    assert build_folder(write_tiffs(tmp_path / "b", 65535), **WHOLE).remarks().warnings == ()


def test_flat_images_warn(tmp_path: Path) -> None:
    root = write_tiffs(tmp_path / "a", 65535)
    rng = np.random.default_rng(1)
    for number in range(5):
        tifffile.imwrite(root / f"{number:02}.tif", rng.integers(0, 4096, (8, 8)).astype(np.uint16))
    (warning,) = build_folder(root, intensity="dataset", **WHOLE).remarks().warnings
    assert "5 of 20 training images use less than an eighth of the range" in warning
    assert build_folder(root, intensity="per_image", **WHOLE).remarks().warnings == ()


def test_range_is_that_of_the_training_images(tmp_path: Path) -> None:
    write_tiffs(tmp_path / "a", 1000)
    (tmp_path / "a" / "train").mkdir()
    for file in (tmp_path / "a").glob("*.tif"):
        file.rename(file.parent / "train" / file.name)
    write_tiffs(tmp_path / "a" / "test", 60000, lowest=50000)
    mine = build_folder(tmp_path / "a", intensity="dataset", channels=1)
    assert mine._scale.bounds is not None
    assert mine._scale.bounds[1] <= 1000
    assert (mine.split("test").images == 255).all()


def test_range_is_measured_once_and_on_some_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_images, "MOST_MEASURED", 5)
    root = write_tiffs(tmp_path / "a", 4095)
    first = build_folder(root, intensity="dataset", **WHOLE).remarks()
    assert "measured on 5 training images" in first.facts[0]
    monkeypatch.setattr(deep_images, "sample_images", lambda *_: pytest.fail("measured again"))
    assert build_folder(root, intensity="dataset", **WHOLE).remarks() == first


@pytest.mark.parametrize("rule", ["dataset", "window", "per_image"])
def test_8_bit_sets_stay_as_they_are(tmp_path: Path, rule, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(20, 90, (8, 8)).astype(np.uint8)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(deep_images, "sample_images", lambda *_: pytest.fail("measured"))
    full, other = build_folder(tmp_path, **WHOLE), build_folder(tmp_path, intensity=rule, **WHOLE)
    np.testing.assert_array_equal(other.split("train").images, full.split("train").images)
    assert other.content_hash() == full.content_hash() == f"sha256:{full._files.digest}"
    assert other.remarks().lines == ()


def test_window_is_needed_for_files_that_state_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^dataset\.intensity=window: .*00\.tif does not say which window shows it"):
        build_folder(write_tiffs(tmp_path / "a", 4095), intensity="window", **WHOLE).split("train")


def test_unreadable_image_of_16_bits_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    root = write_tiffs(tmp_path / "a", 4095)
    content = (root / "03.tif").read_bytes()
    (root / "03.tif").write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"03\.tif: not a readable image"):
        build_folder(root, intensity="dataset", **WHOLE).split("train")
