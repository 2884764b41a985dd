"""Decode image files into uint8 arrays of one size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from simclr_med.data.sniff import describe_content
from simclr_med.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Intensity = Literal["full", "minmax"]
RULES_VERSION = 1  # increase with every change of the rules below, so that cached arrays are decoded again
BLOCK = 64  # images decoded at a time


def decode_images(
    root: Path, names: Sequence[str], size: int, channels: int, intensity: Intensity
) -> Iterator[np.ndarray]:
    """Decode the images in order; yield blocks, uint8 [B, size, size, channels] in [0, 255].

    Args:
        root: the folder.
        names: file names relative to the folder.
        size, channels, intensity: as for `decode_image`.

    Raises:
        DataError: a file cannot be decoded.
    """
    workers = min(8, os.cpu_count() or 1)  # threads: PIL decodes and resizes without Python's lock
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(names), BLOCK):
            files = [root / name for name in names[start : start + BLOCK]]
            yield np.stack(list(pool.map(lambda file: decode_image(file, size, channels, intensity), files)))


def decode_image(file: Path, size: int, channels: int, intensity: Intensity) -> np.ndarray:
    """Decode one image, uint8 [size, size, channels] in [0, 255].

    The rules, in order:

    - 16 bits become 8: ``full`` divides by 257, ``minmax`` scales the image's own lowest..highest value to 0..255.
      8-bit values stay. (PIL alone would read only the upper 8 bits of a 16-bit colour PNG.)
    - The EXIF orientation is applied, palettes are resolved, alpha is dropped.
    - Colours become grey by ITU-R 601, or grey is repeated as RGB.
    - The shorter side is resized to ``size`` (bilinear with antialiasing), then the centre is cropped.

    Args:
        file: PNG, JPEG, BMP or TIFF with one page, grey or RGB, with 8 or 16 bits per channel.
        size: side of the result in pixels.
        channels: 1 or 3.
        intensity: rule for 16 bits.

    Raises:
        DataError: the file is damaged, has several pages, or has neither 8 nor 16 bits.
    """
    from PIL import UnidentifiedImageError

    try:
        image = _open_image(file, intensity).convert("L" if channels == 1 else "RGB")
        return np.asarray(_resize_and_crop(image, size), np.uint8).reshape(size, size, channels)
    except _UnsupportedImage as error:
        raise DataError(f"{file}: {error}. Convert or remove the file.") from error
    except Exception as error:  # PIL and tifffile raise a dozen types for damaged files, also SyntaxError
        reason = " ".join(str(error).replace(repr(str(file)), "the file").split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"it is {describe_content(file)}"
        raise DataError(f"{file}: not a readable image ({reason}). Replace or remove the file.") from error


class _UnsupportedImage(Exception):
    """An intact image of an unsupported type; the message says what is expected."""


def _open_image(file: Path, intensity: Intensity) -> Image:
    """Return the file as an upright PIL image with 8 bits per channel."""
    from PIL import Image as pil
    from PIL import ImageOps

    if file.suffix.lower() in (".tif", ".tiff"):
        pixels = _read_16_bit_colour_tiff(file)
        if pixels is not None:
            return pil.fromarray(_reduce_to_8_bits(pixels, intensity))
    with pil.open(file) as opened:
        _check_pages(getattr(opened, "n_frames", 1))
        opened.load()
        upright = ImageOps.exif_transpose(opened)
    is_16_bit = upright.mode.startswith("I;16") or (upright.mode == "I" and opened.format == "PNG")
    if is_16_bit:
        return pil.fromarray(_reduce_to_8_bits(np.asarray(upright), intensity))
    if upright.mode in ("I", "F"):
        raise _UnsupportedImage("expected 8 or 16 bits per channel, found 32")
    if upright.mode == "P":
        return upright.convert("RGBA" if "transparency" in upright.info else "RGB").convert("RGB")
    return upright


def _check_pages(pages: int) -> None:
    if pages > 1:
        raise _UnsupportedImage(f"expected one image, found {pages} pages")


def _resize_and_crop(image: Image, size: int) -> Image:
    """Resize the shorter side to size pixels and crop the centre, size x size pixels."""
    from PIL import Image as pil

    width, height = image.size
    scale = size / min(width, height)
    new_width = max(size, round(width * scale))
    new_height = max(size, round(height * scale))
    left = (new_width - size) // 2
    top = (new_height - size) // 2
    resized = image.resize((new_width, new_height), pil.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _reduce_to_8_bits(pixels: np.ndarray, intensity: Intensity) -> np.ndarray:
    values = pixels.astype(np.float64)
    low, high = (values.min(), values.max()) if intensity == "minmax" else (0.0, 65535.0)
    return np.rint((values - low) * (255 / max(high - low, 1))).astype(np.uint8)


def _read_16_bit_colour_tiff(file: Path) -> np.ndarray | None:
    """Return uint16 [H, W, 3] from a 16-bit colour TIFF, which PIL cannot read; None for every other TIFF."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if page.dtype != np.uint16 or page.samplesperpixel < 3:
            return None
        _check_pages(len(tiff.pages))
        pixels: np.ndarray = page.asarray()
        return np.moveaxis(pixels, page.axes.index("S"), -1)[..., :3]
