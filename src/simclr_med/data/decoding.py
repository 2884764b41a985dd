"""Decode image files into uint8 arrays of one size."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from simclr_med.data.limits import MOST_COUNTED_PAGES, MOST_IMAGE_BYTES
from simclr_med.data.sniff import describe_content
from simclr_med.data.tiff import UnsupportedImage, check_pages, check_size, describe_excess, read_16_bit_colour
from simclr_med.errors import DataError
from simclr_med.safe_files import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

Intensity = Literal["full", "minmax"]
RULES_VERSION = 1  # increase with every change of the rules below, so that cached arrays are decoded again
BLOCK = 16  # images decoded by one worker at a time
AHEAD = 8  # decoded blocks of each worker that wait in memory
# More images than this are decoded by processes, which take about a second to start; fewer by threads, of which only
# one runs Python at a time.
MANY = 10_000
IDLE_S = 10  # seconds that a process waits for more images before it ends
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")


def decode_images(
    root: Path, names: Sequence[str], size: int, channels: int, intensity: Intensity
) -> Iterator[np.ndarray]:
    """Decode the images in order, on all cores; yield blocks, uint8 [B, size, size, channels] in [0, 255].

    Args:
        root: the folder.
        names: file names relative to the folder.
        size, channels, intensity: as for `decode_image`.

    Raises:
        DataError: a file cannot be decoded; if several cannot, the first of them.
    """
    from joblib.externals import loky  # late: only a folder that is not in the cache needs it

    cores = loky.cpu_count()
    blocks = [names[start : start + BLOCK] for start in range(0, len(names), BLOCK)]
    decode = partial(_decode_block, root, size=size, channels=channels, intensity=intensity)
    with warnings.catch_warnings():
        # Warnings of PIL about damaged or large files; the error says what is wrong.
        warnings.simplefilter("ignore")
        if len(names) > MANY:
            pool = loky.get_reusable_executor(
                cores, timeout=IDLE_S, initializer=_prepare_process, initargs=(os.getpid(),)
            )
            yield from _map_ahead(pool, decode, blocks, AHEAD * cores)
            return
        with ThreadPoolExecutor(cores) as threads:
            yield from _map_ahead(threads, decode, blocks, AHEAD * cores)


def _prepare_process(parent: int) -> None:
    """Silence PIL, and make this process end with its parent.

    Otherwise it stays if the parent is killed while this process waits to hand over its images.
    """

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    warnings.simplefilter("ignore")
    threading.Thread(target=end_with_parent, daemon=True).start()


def _map_ahead(
    pool: Executor, function: Callable[[Sequence[str]], np.ndarray], blocks: Sequence[Sequence[str]], ahead: int
) -> Iterator[np.ndarray]:
    """Apply a function to each block and yield the results in order; at most `ahead` of them are in memory."""
    started: deque[Future[np.ndarray]] = deque()
    try:
        for block in blocks:
            started.append(pool.submit(function, block))
            if len(started) == ahead:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        for future in started:
            future.cancel()


def _decode_block(root: Path, names: Sequence[str], size: int, channels: int, intensity: Intensity) -> np.ndarray:
    return np.stack([decode_image(root / name, size, channels, intensity) for name in names])


def decode_image(file: Path, size: int, channels: int, intensity: Intensity) -> np.ndarray:
    """Decode one image, uint8 [size, size, channels] in [0, 255].

    The rules, in order:

    - 16 bits become 8: ``full`` divides by 257, ``minmax`` scales the image's own lowest..highest value to 0..255.
      8-bit values stay. (PIL alone would read only the upper 8 bits of a 16-bit colour PNG.)
    - The EXIF orientation is applied, palettes are resolved, alpha is dropped.
    - Colours become grey by ITU-R 601, or grey is repeated as RGB.
    - The shorter side is resized to ``size`` (bilinear with antialiasing), then the centre is cropped.

    Args:
        file: PNG, JPEG, BMP or TIFF with one page, grey or RGB, with 8 or 16 bits per channel, within `limits`.
        size: side of the result in pixels.
        channels: 1 or 3.
        intensity: rule for 16 bits.

    Raises:
        DataError: the file is damaged, too large, of another format, has several pages, or has neither 8 nor 16 bits.
    """
    from PIL import UnidentifiedImageError

    try:
        with open_regular(file, MOST_IMAGE_BYTES) as opened:
            image = _read_image(file, opened, intensity)
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:  # convert would copy
            image = image.convert(mode)
        return np.asarray(_resize_and_crop(image, size), np.uint8).reshape(size, size, channels)
    except UnsupportedImage as error:
        raise DataError(f"{file}: {error}. Convert or remove the file.") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{file}: not a readable image (it is {describe_content(file)}). Replace or remove the file. "
            f"Accepted formats: {', '.join(FORMATS)}."
        ) from error
    except Exception as error:  # PIL and tifffile raise a dozen types for damaged files, also SyntaxError
        raise DataError(
            f"{file}: not a readable image ({_describe_damage(error)}). Replace or remove the file."
        ) from error


def _describe_damage(error: Exception) -> str:
    if "text chunk" in str(error).lower() or "MAX_TEXT" in str(error):  # PIL names its own constants
        return "its texts are too large"
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(said or error).split()) or type(error).__name__


def _read_image(file: Path, opened: BinaryIO, intensity: Intensity) -> Image:
    """Return the file as an upright PIL image with 8 bits per channel."""
    from PIL import Image as pil
    from PIL import ImageOps

    if file.suffix.lower() in (".tif", ".tiff"):
        pixels = read_16_bit_colour(opened)
        if pixels is not None:
            return pil.fromarray(_reduce_to_8_bits(pixels, intensity))
        opened.seek(0)
    with _open_image(opened) as image:
        check_size(*image.size)
        check_size(*_tile_size(image))
        check_pages(_count_pages(image))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        upright: Image = image
    is_16_bit = upright.mode.startswith("I;16") or (upright.mode == "I" and image.format == "PNG")
    if is_16_bit:
        return pil.fromarray(_reduce_to_8_bits(np.asarray(upright), intensity))
    if upright.mode in ("I", "F"):
        raise UnsupportedImage("expected 8 or 16 bits per channel, found 32")
    if upright.mode == "P":
        return upright.convert("RGBA" if "transparency" in upright.info else "RGB").convert("RGB")
    return upright


def _open_image(opened: BinaryIO) -> Image:
    """Open an image by its content, in the accepted formats only: for EPS files, PIL would start Ghostscript."""
    from PIL import Image as pil

    try:
        return pil.open(opened, formats=FORMATS)
    except pil.DecompressionBombError as error:
        raise UnsupportedImage(describe_excess("many more")) from error


def _tile_size(image: Image) -> tuple[int, int]:
    """Return (width, height) of a TIFF's tiles, which are decoded one at a time; (0, 0) without tiles."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(322, 0), tags.get(323, 0)  # TileWidth, TileLength


def _count_pages(image: Image) -> int:
    for page in range(1, MOST_COUNTED_PAGES):
        try:
            image.seek(page)
        except EOFError:
            return page
    return MOST_COUNTED_PAGES


def _resize_and_crop(image: Image, size: int) -> Image:
    """Resize the shorter side to size pixels and crop the centre, size x size pixels."""
    from PIL import Image as pil

    width, height = image.size
    if width == height == size:
        return image
    scale = size / min(width, height)
    new_width = max(size, round(width * scale))
    new_height = max(size, round(height * scale))
    left = (new_width - size) // 2
    top = (new_height - size) // 2
    resized = image.resize((new_width, new_height), pil.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _reduce_to_8_bits(pixels: np.ndarray, intensity: Intensity) -> np.ndarray:
    low, high = (float(pixels.min()), float(pixels.max())) if intensity == "minmax" else (0.0, 65535.0)
    reduced = np.empty(pixels.shape, np.uint8)
    for row, values in enumerate(pixels):  # row by row: in float64 the whole image would take eight times its size
        reduced[row] = np.rint((values.astype(np.float64) - low) * (255 / max(high - low, 1)))
    return reduced
