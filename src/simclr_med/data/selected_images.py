"""The images of a selection.csv, found again in a data set by their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.selection_csv import DIGITS, SelectedImage, read_selection


def hash_image(image_HWC: np.ndarray) -> str:
    """Return `DIGITS` of SHA-256 of an image's shape and pixels."""
    pixels = np.ascontiguousarray(image_HWC)
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class LabelledImages:
    """The images of a selection that are labelled already.

    Attributes:
        lines: of the selection.csv, in its order.
        rows_M: int64, their rows in the training split.
        labels_ML: int64; the classes are numbered from 0 by those that these images have.
    """

    lines: tuple[SelectedImage, ...]
    rows_M: np.ndarray
    labels_ML: np.ndarray


def load_labelled_images(file: str, count: int, source: Source) -> LabelledImages:
    """Return the images that a selection.csv lists first, with their labels and no others.

    The labels are those that the user wrote into the column label, or those of the data set if the column is empty.

    Args:
        file, count, source: as in `load_selected_rows`.

    Raises:
        DataError: as `load_selected_rows`; an image has no label; or all have the same class.
    """
    rows_M = load_selected_rows(file, count, source)
    lines = tuple(_read(file, count))
    labels_ML = _read_labels(file, lines)
    if labels_ML is None:
        whole_NL = source.labels("train")
        if whole_NL is None:
            raise DataError(
                f"data_fraction.file={file}: no labels. Write the class of each labelled image into the column label, "
                "from the first line on."
            )
        labels_ML = whole_NL[rows_M]
    if labels_ML.shape[1] == 1:
        present, numbers = np.unique(labels_ML, return_inverse=True)
        if len(present) < 2:
            raise DataError(
                f"data_fraction.samples={count}: the labelled images of {file} have only one class. Label images of "
                "another class too."
            )
        labels_ML = numbers.reshape(-1, 1).astype(np.int64)
    return LabelledImages(lines, rows_M, labels_ML)


def _read_labels(file: str, lines: Sequence[SelectedImage]) -> np.ndarray | None:
    """Return the labels that the lines state, int64 [M, 1]; None if none does."""
    names = [line.label for line in lines]
    if not any(names):
        return None
    if "" in names:
        raise DataError(
            f"data_fraction.file={file}: rank {names.index('') + 1} has no label, but {len(names) - names.count('')} "
            f"of its first {len(names)} images have one. Add it, or lower data_fraction.samples."
        )
    return np.unique(names, return_inverse=True)[1].reshape(-1, 1).astype(np.int64)


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
