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
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from simclr_med.data.intensity import DeepImage, Scale, Spread, reduce_to_8_bits, sample_spread
from simclr_med.data.interpolation import measure_interpolation
from simclr_med.data.pixels import FORMATS, read_pixels, split_frame
from simclr_med.data.sniff import describe_content
from simclr_med.data.tiff import UnsupportedImage
from simclr_med.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
RULES_VERSION = 1  # increase with every change of the rules below, so that cached arrays are decoded again
BLOCK = 16  # images decoded by one worker at a time
AHEAD = 8  # decoded blocks of each worker that wait in memory
# More images than this are decoded by processes, which take about a second to start; fewer by threads, of which only
# one runs Python at a time.
MANY = 10_000
SKIP = "dataset.broken=skip leaves such files out."
IDLE_S = 10  # seconds that a process waits for more images before it ends


def decode_images(root: Path, names: Sequence[str], size: int, channels: int, scale: Scale) -> Iterator[np.ndarray]:
    """Decode the images in order, on all cores; yield blocks, uint8 [B, size, size, channels] in [0, 255].

    Args:
        root: the folder.
        names: file names relative to the folder.
        size, channels, scale: as for `decode_image`.

    Raises:
        DataError: a file cannot be decoded; if several cannot, the first of them.
    """
    decode = partial(_decode_block, root, size=size, channels=channels, scale=scale)
    yield from _map_blocks(decode, names)


def sample_images(root: Path, names: Sequence[str]) -> Iterator[list[Spread]]:
    """Yield sampled values of the images with more than 8 bits, in blocks; unreadable ones are left out."""
    return _map_blocks(partial(_sample_block, root), names)


def measure_files(root: Path, names: Sequence[str], scale: Scale) -> Iterator[np.ndarray]:
    """Yield the traces of interpolation in the images at their own size, float32 [B, 3] each; NaN if unreadable."""
    return _map_blocks(partial(_measure_block, root, scale=scale), names)


def check_images(root: Path, names: Sequence[str]) -> Iterator[list[str]]:
    """Yield in blocks what is wrong with each image: ``unreadable``, ``unsupported``, or nothing."""
    return _map_blocks(partial(_check_block, root), names)


def _map_blocks(function: Callable[[Sequence[str]], T], names: Sequence[str]) -> Iterator[T]:
    """Apply a function to blocks of names on all cores; yield the results in order."""
    from joblib.externals import loky  # late: only a folder that is not in the cache needs it

    cores = loky.cpu_count()
    blocks = [names[start : start + BLOCK] for start in range(0, len(names), BLOCK)]
    with warnings.catch_warnings():
        # Warnings of PIL about damaged or large files; the error says what is wrong.
        warnings.simplefilter("ignore")
        if len(names) > MANY:
            pool = loky.get_reusable_executor(
                cores, timeout=IDLE_S, initializer=_prepare_process, initargs=(os.getpid(),)
            )
            yield from _map_ahead(pool, function, blocks, AHEAD * cores)
            return
        with ThreadPoolExecutor(cores) as threads:
            yield from _map_ahead(threads, function, blocks, AHEAD * cores)


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
    pool: Executor, function: Callable[[Sequence[str]], T], blocks: Sequence[Sequence[str]], ahead: int
) -> Iterator[T]:
    """Apply a function to each block and yield the results in order; at most `ahead` of them are in memory."""
    started: deque[Future[T]] = deque()
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


def _decode_block(root: Path, names: Sequence[str], size: int, channels: int, scale: Scale) -> np.ndarray:
    return np.stack([decode_image(root / name, size, channels, scale) for name in names])


def _sample_block(root: Path, names: Sequence[str]) -> list[Spread]:
    spreads = []
    for name in names:
        try:
            image = read_pixels(root / name, takes_window=False)
        except Exception:  # decoding it says what is wrong
            continue
        if isinstance(image, DeepImage):
            spreads.append(sample_spread(image))
    return spreads


def _measure_block(root: Path, names: Sequence[str], scale: Scale) -> np.ndarray:
    found = np.full((len(names), 3), np.nan, np.float32)
    for row, name in enumerate(names):
        try:
            image = _read_8_bits(root / name, scale)
        except Exception:  # decoding it says what is wrong
            continue
        found[row] = measure_interpolation(np.asarray(image.convert("L"))[None])[0]
    return found


def _check_block(root: Path, names: Sequence[str]) -> list[str]:
    return [_find_flaw(root / name) for name in names]


def _find_flaw(file: Path) -> str:
    try:
        read_pixels(file, takes_window=False)
    except UnsupportedImage:
        return "unsupported"
    except Exception:  # PIL, tifffile and pydicom raise a dozen types for damaged files
        return "unreadable"
    return ""


def decode_image(file: Path, size: int, channels: int, scale: Scale) -> np.ndarray:
    """Decode one image, uint8 [size, size, channels] in [0, 255].

    The rules, in order:

    - More than 8 bits become 8 by `scale` (`intensity.reduce_to_8_bits`). 8-bit values stay. Of a PNG
      with 16 bits per colour channel, PIL reads the upper 8 bits.
    - The EXIF orientation is applied, palettes are resolved, alpha is dropped.
    - Colours become grey by ITU-R 601, or grey is repeated as RGB.
    - The shorter side is resized to ``size`` (bilinear with antialiasing), then the centre is cropped.

    Args:
        file: PNG, JPEG, BMP or TIFF with one page, grey or RGB, with 8 or 16 bits per channel, or DICOM, within
            `limits`. The path of a frame of a DICOM file is that of `pixels.name_frame`.
        size: side of the result in pixels.
        channels: 1 or 3.
        scale: rule for values of more than 8 bits.

    Raises:
        DataError: the file is damaged, too large, of another format, has several pages, or has neither 8 nor 16 bits.
    """
    from PIL import UnidentifiedImageError

    try:
        return fit_image(_read_8_bits(file, scale), size, channels)
    except UnsupportedImage as error:
        raise DataError(f"{file}: {error}. Convert or remove the file.") from error
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{file}: not a readable image (it is {describe_content(split_frame(file)[0])}). "
            f"Replace or remove the file. {SKIP} Accepted formats: {', '.join(FORMATS)}."
        ) from error
    except Exception as error:  # PIL and tifffile raise a dozen types for damaged files, also SyntaxError
        raise DataError(
            f"{file}: not a readable image ({describe_damage(error)}). Replace or remove the file. {SKIP}"
        ) from error


def fit_image(image: Image, size: int, channels: int) -> np.ndarray:
    """Return an upright PIL image of 8 bits by the last two rules of `decode_image`, uint8 [size, size, channels]."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:  # convert would copy
        image = image.convert(mode)
    return np.asarray(_resize_and_crop(image, size), np.uint8).reshape(size, size, channels)


def describe_damage(error: Exception) -> str:
    """Return what a library says of a damaged image, in a few words."""
    if "text chunk" in str(error).lower() or "MAX_TEXT" in str(error):  # PIL names its own constants
        return "its texts are too large"
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(said or error).split()) or type(error).__name__


def _read_8_bits(file: Path, scale: Scale) -> Image:
    """Return the file as an upright PIL image with 8 bits per channel."""
    from PIL import Image as pil

    found = read_pixels(file, scale.needs_own_window)
    if not isinstance(found, DeepImage):
        return found
    if scale.needs_own_window and found.window is None:
        raise DataError(
            f"dataset.intensity=window: {file} does not say which window shows it. Set dataset.window=[center,width], "
            "or use dataset.intensity=dataset."
        )
    return pil.fromarray(reduce_to_8_bits(found, scale))


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
