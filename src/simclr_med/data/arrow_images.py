"""The images inside a column of a .parquet or .arrow file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simclr_med.data.arrow_files import ArrowFile, iterate_column
from simclr_med.data.decoding import describe_damage, fit_image
from simclr_med.data.intensity import DeepImage
from simclr_med.data.limits import MOST_IMAGE_BYTES
from simclr_med.data.pixels import read_opened
from simclr_med.data.tiff import UnsupportedImage
from simclr_med.errors import DataError
from simclr_med.safe_files import open_regular

_TIFF_STARTS = (b"II*\0", b"MM\0*")


def read_images(
    file: ArrowFile, root: Path, column: str, rows: np.ndarray, size: int, channels: int
) -> Iterator[np.ndarray]:
    """Decode the images of some rows, which are sorted; yield blocks, uint8 [B, size, size, channels].

    Args:
        file: of the data set.
        root: folder that the paths of images are relative to.
        column: of the images.
        rows: int [N].
        size, channels: as in `simclr_med.data.decoding.decode_image`, whose rules apply.

    Raises:
        DataError: an image is missing, damaged, too large, or has more than 8 bits per channel.
    """
    wanted, start = set(rows.tolist()), 0
    for cells in iterate_column(file, column):
        block = [
            _decode(f"{file.path}: {column} of row {start + k}", root, cell, size, channels)
            for k, cell in enumerate(cells)
            if start + k in wanted
        ]
        start += len(cells)
        if block:
            yield np.stack(block)


def _decode(where: str, root: Path, cell: Any, size: int, channels: int) -> np.ndarray:
    """Decode one cell of the image column."""
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    try:
        if content is None and isinstance(cell, Mapping) and cell.get("path"):
            content = _read_path(root, str(cell["path"]))
        if not isinstance(content, bytes):
            raise UnsupportedImage(f"expected the bytes of an image file, found {type(content).__name__}")
        if len(content) > MOST_IMAGE_BYTES:
            raise UnsupportedImage(f"it has {len(content):,} bytes, more than an image may have")
        image = read_opened(io.BytesIO(content), content.startswith(_TIFF_STARTS))
        if isinstance(image, DeepImage):
            raise UnsupportedImage("expected 8 bits per channel; export the images as files for dataset=folder")
        return fit_image(image, size, channels)
    except Exception as error:  # PIL raises a dozen types for damaged files, also SyntaxError
        raise DataError(
            f"{where}: not a readable image ({describe_damage(error)}). Replace or remove the row."
        ) from error


def _read_path(root: Path, name: str) -> bytes:
    """Return the bytes of an image file beside the data set; its path must not leave the folder."""
    folder = (root.parent if root.is_file() else root).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise UnsupportedImage("its path leaves the folder of the data set")
    with open_regular(path, MOST_IMAGE_BYTES) as opened:
        return opened.read()
