"""Image files to uint8 arrays of one size. Done once a data set; the arrays are cached."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from simclr_med.data.sniff import sniff_image
from simclr_med.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Intensity = Literal["full", "minmax"]
RULES_VERSION = 1  # raised with every change of the rules below, so that cached arrays are made anew
BLOCK = 64  # images decoded at a time


def decoded(root: Path, names: Sequence[str], size: int, channels: int, intensity: Intensity) -> Iterator[np.ndarray]:
    """The images in order, uint8 [b, size, size, channels] a time.

    Raises:
        DataError: a file that cannot be read, named.
    """
    workers = min(8, os.cpu_count() or 1)  # PIL decodes and resizes outside of Python's lock
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(names), BLOCK):
            files = [root / name for name in names[start : start + BLOCK]]
            yield np.stack(list(pool.map(lambda file: image(file, size, channels, intensity), files)))


def image(file: Path, size: int, channels: int, intensity: Intensity) -> np.ndarray:
    """One image, uint8 [size, size, channels].

    Turned upright as EXIF says; palettes resolved, alpha dropped; colours made grey by ITU-R 601 or grey repeated as
    RGB; the shorter side resized to ``size`` (bilinear with antialiasing) and the centre cut out.
    16 bits become 8 by value / 257 (``full``), or by stretching the image's own smallest..largest value to 0..255
    (``minmax``); 8-bit images keep their values. PIL itself reads only the upper 8 bits of a 16-bit colour PNG.

    Args:
        file: PNG, JPEG, BMP or TIFF, one page of grey or RGB at 8 or 16 bits.
        size: side of the result in pixels.
        channels: 1 or 3.
        intensity: rule for 16 bits.

    Raises:
        DataError: unreadable, several pages, or other than 8 or 16 bits.
    """
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    try:
        picture = _opened(file, intensity)
        picture = picture.convert("L" if channels == 1 else "RGB")
        width, height = picture.size
        scale = size / min(width, height)
        resized = (max(size, round(width * scale)), max(size, round(height * scale)))
        picture = picture.resize(resized, pil.Resampling.BILINEAR)
        left, top = (resized[0] - size) // 2, (resized[1] - size) // 2
        picture = picture.crop((left, top, left + size, top + size))
        return np.asarray(picture, np.uint8).reshape(size, size, channels)
    except _Unfit as error:
        raise DataError(f"{file}: must be {error}. Convert or remove it.") from error
    except Exception as error:  # PIL and tifffile raise a dozen kinds for damaged files, SyntaxError among them
        told = " ".join(str(error).replace(repr(str(file)), "the file").split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            told = f"it is {sniff_image(file)}"
        raise DataError(f"{file}: must be a readable image ({told}). Replace or remove it.") from error


class _Unfit(Exception):
    """A good file of a kind that is not taken; says what it must be."""


def _opened(file: Path, intensity: Intensity) -> Image:
    """The file as a PIL image of 8 bits a channel."""
    from PIL import Image as pil
    from PIL import ImageOps

    if file.suffix.lower() in (".tif", ".tiff"):
        pixels = _tiff_of_16_bit_colours(file)
        if pixels is not None:
            return pil.fromarray(_eight_bits(pixels, intensity))
    with pil.open(file) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise _Unfit(f"one image, not {picture.n_frames} pages")
        picture.load()
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16") or (upright.mode == "I" and picture.format == "PNG"):
        return pil.fromarray(_eight_bits(np.asarray(upright), intensity))
    if upright.mode in ("I", "F"):
        raise _Unfit("of 8 or 16 bits a channel, not 32")
    if upright.mode == "P":
        return upright.convert("RGBA" if "transparency" in upright.info else "RGB").convert("RGB")
    return upright


def _eight_bits(pixels: np.ndarray, intensity: Intensity) -> np.ndarray:
    values = pixels.astype(np.float64)
    low, high = (values.min(), values.max()) if intensity == "minmax" else (0.0, 65535.0)
    return np.rint((values - low) * (255 / max(high - low, 1))).astype(np.uint8)


def _tiff_of_16_bit_colours(file: Path) -> np.ndarray | None:
    """uint16 [H, W, 3], a kind of TIFF that PIL cannot read; None for all others."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if page.dtype != np.uint16 or page.samplesperpixel < 3:
            return None
        if len(tiff.pages) > 1:
            raise _Unfit(f"one image, not {len(tiff.pages)} pages")
        pixels: np.ndarray = page.asarray()
        return np.moveaxis(pixels, page.axes.index("S"), -1)[..., :3]
