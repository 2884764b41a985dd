"""The images of a selection.csv, found again in a data set by their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.selection_csv import DIGITS, SelectedImage, read_selection


def hash_image(image_HWC: np.ndarray) -> str:
    """Return `DIGITS` of SHA-256 of an image's shape and pixels."""
    pixels = np.ascontiguousarray(image_HWC)
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()[:DIGITS]


def load_selected_rows(file: str, count: int, source: Source) -> np.ndarray:
    """Return the rows of the training split that a selection.csv lists first, int64 [count], in its order.

    Images are identified by the digest of their pixels, since they may be in other folders after labelling. All images
    are hashed only if one is not at its row.

    Args:
        file: the selection.csv.
        count: number of images.
        source: the data set.

    Raises:
        DataError: the file cannot be read, lists fewer images, or one of them is not in the training split.
    """
    selected = _read(file, count)
    images_NHWC = source.split("train").images
    rows = [one.index if _is_at_its_row(one, images_NHWC) else -1 for one in selected]
    if -1 in rows:
        rows = _search(selected, rows, images_NHWC)
    if -1 in rows:
        raise DataError(
            f"data_fraction.file={file}: {rows.count(-1)} of its first {count} images (the first is rank "
            f"{rows.index(-1) + 1}) are not training images of dataset={source.name}. Use the selection of this data "
            "set, with images of the same size."
        )
    return np.array(rows, np.int64)


def _read(file: str, count: int) -> list[SelectedImage]:
    try:
        selected = read_selection(Path(file).expanduser())[:count]
    except (OSError, ValueError) as error:
        raise DataError(f"data_fraction.file={file}: not a selection.csv ({error}). Check the path.") from error
    if len(selected) < count:
        raise DataError(f"data_fraction.samples={count}: {file} lists {len(selected)} images. Choose fewer.")
    return selected


def _is_at_its_row(one: SelectedImage, images_NHWC: np.ndarray) -> bool:
    return one.index < len(images_NHWC) and hash_image(images_NHWC[one.index]) == one.digest


def _search(selected: Sequence[SelectedImage], rows: Sequence[int], images_NHWC: np.ndarray) -> list[int]:
    """Return the rows with those that are -1 found by the pixels; copies of an image are used once each."""
    places: dict[str, list[int]] = {}
    used = set(rows)
    for row, image_HWC in enumerate(images_NHWC):
        if row not in used:
            places.setdefault(hash_image(image_HWC), []).append(row)
    found = []
    for one, row in zip(selected, rows, strict=True):
        free = places.get(one.digest)
        found.append(free.pop(0) if row < 0 and free else row)
    return found
