"""Decoding of image files: rules of colour, depth, size and orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from simclr_med.data.decoding import decode_image
from simclr_med.data.intensity import FULL, Scale
from simclr_med.errors import DataError


@pytest.fixture
def colours() -> np.ndarray:
    ramp = np.linspace(0, 255, 16).round()
    return np.stack([np.tile(ramp, (16, 1)), np.tile(ramp[:, None], (1, 16)), np.full((16, 16), 90)], 2).astype(
        np.uint8
    )


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "TIFF"])
def test_lossless_formats_keep_the_pixels(tmp_path: Path, colours, ending) -> None:
    Image.fromarray(colours).save(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(decode_image(tmp_path / f"a.{ending}", 16, 3, FULL), colours)


def test_jpeg_is_close_to_the_pixels(tmp_path: Path, colours) -> None:
    Image.fromarray(colours).save(tmp_path / "a.jpeg", quality=98, subsampling=0)
    assert np.abs(decode_image(tmp_path / "a.jpeg", 16, 3, FULL).astype(int) - colours).mean() < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_converts_to_grey_and_rgb(tmp_path: Path, colours, mode, channels) -> None:
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture = Image.fromarray(colours).convert(mode)
    picture.save(file)
    expected = np.asarray(picture.convert("RGB" if channels == 3 else "L")).reshape(16, 16, channels)
    found = decode_image(file, 16, channels, FULL)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_alpha_is_dropped_without_blending(tmp_path: Path, colours) -> None:
    transparent = np.dstack([colours, np.zeros((16, 16), np.uint8)])
    Image.fromarray(transparent).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", 16, 3, FULL), colours)


def write_16_bits(file: Path, pixels: np.ndarray) -> Path:
    if file.suffix == ".png":
        Image.fromarray(pixels).save(file)
    else:
        tifffile.imwrite(file, pixels, byteorder=">" if "big" in file.name else "<", photometric=None)
    return file


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif"])
def test_16_bit_grey_is_reduced_to_8_bits(tmp_path: Path, name) -> None:
    pixels = np.linspace(1000, 5000, 64).round().reshape(8, 8).astype(np.uint16)
    file = write_16_bits(tmp_path / name, pixels)
    np.testing.assert_array_equal(decode_image(file, 8, 1, FULL)[..., 0], np.rint(pixels / 257))
    stretched = np.rint((pixels - 1000.0) * 255 / 4000)
    np.testing.assert_array_equal(decode_image(file, 8, 1, Scale("per_image"))[..., 0], stretched)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bit_colour_tiff_is_reduced_to_8_bits(tmp_path: Path, planar) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (8, 8, 3), np.uint16)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.tif", 8, 3, FULL), np.rint(pixels / 257))


def test_minmax_of_a_constant_image_is_zero(tmp_path: Path) -> None:
    file = write_16_bits(tmp_path / "a.tif", np.full((8, 8), 700, np.uint16))
    assert not decode_image(file, 8, 1, Scale("per_image")).any()


@pytest.mark.parametrize(("shape", "box"), [((40, 20), (0, 10, 20, 30)), ((20, 40), (10, 0, 30, 20))])
def test_shorter_side_is_resized_and_centre_cropped(tmp_path: Path, shape, box) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    left, top, right, bottom = box
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", 20, 3, FULL), pixels[top:bottom, left:right])


def test_downscaling_is_antialiased(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    Image.fromarray(stripes).save(tmp_path / "a.png")
    found = decode_image(tmp_path / "a.png", 8, 1, FULL)
    assert np.abs(found.astype(int) - 127).max() < 25


def test_exif_orientation_is_applied(tmp_path: Path, colours) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(colours)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", 16, 3, FULL), colours)


@pytest.mark.parametrize(
    ("pixels", "rule"),
    [
        (np.zeros((8, 8), np.float32), "expected 8 or 16 bits per channel, found 32"),
        (np.zeros((2, 8, 8), np.uint8), "expected one image, found 2 pages"),
        (np.zeros((2, 8, 8, 3), np.uint16), "expected one image, found 2 pages"),
    ],
)
def test_unsupported_image_types_are_named(tmp_path: Path, pixels, rule) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb" if pixels.ndim == 4 else "minisblack")
    with pytest.raises(DataError, match=rf"a.tif: {rule}. Convert or remove"):
        decode_image(tmp_path / "a.tif", 8, 3, FULL)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.bmp"])
@pytest.mark.parametrize("part", [0, 0.2, 0.7])
def test_damaged_file_is_named_in_one_line(tmp_path: Path, name, part) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataError, match=f"{name}: not a readable image") as error:
        decode_image(tmp_path / name, 8, 3, FULL)
    assert "\n" not in str(error.value)


def test_texts_that_unpack_to_megabytes_are_named_plainly(tmp_path: Path, colours) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "x" * (2 << 20), zip=True)
    Image.fromarray(colours).save(tmp_path / "a.png", pnginfo=texts)
    with pytest.raises(DataError, match=r"a\.png: not a readable image \(its texts are too large\)\."):
        decode_image(tmp_path / "a.png", 8, 3, FULL)
