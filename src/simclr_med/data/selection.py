"""The images of a selection.csv, found again in a data set by their pixels."""

from __future__ import annotations

import hashlib
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

    The digest of the pixels decides. So the rows are right after labelling too, when the images may have moved to other
    folders. All images are hashed only if one is not at its row.

    Args:
        file: the selection.csv.
        count: number of images.
        source: the data set.

    Raises:
        DataError: the file cannot be read, lists fewer images, or one of them is not in the training split.
    """
    try:
        selected = read_selection(Path(file).expanduser())[:count]
    except (OSError, ValueError) as error:
        raise DataError(
            f"data_fraction.file={file}: not a readable selection.csv ({error}). Check the path."
        ) from error
    if len(selected) < count:
        raise DataError(f"data_fraction.samples={count}: {file} lists {len(selected)} images. Choose fewer.")
    images_NHWC = source.split("train").images
    rows = [one.index if _is_at_its_row(one, images_NHWC) else -1 for one in selected]
    if -1 in rows:
        places: dict[str, list[int]] = {}
        for row in range(len(images_NHWC) - 1, -1, -1):
            places.setdefault(hash_image(images_NHWC[row]), []).append(row)
        for row in rows:
            if row >= 0:
                places[hash_image(images_NHWC[row])].remove(row)
        lacking = []
        for rank, one in enumerate(selected):
            if rows[rank] < 0 and places.get(one.digest):
                rows[rank] = places[one.digest].pop()
            elif rows[rank] < 0:
                lacking.append(rank + 1)
        if lacking:
            raise DataError(
                f"data_fraction.file={file}: {len(lacking)} of its first {count} images (the first is rank "
                f"{lacking[0]}) are not training images of dataset={source.name}. Use the selection of this data set, "
                "with images of the same size."
            )
    return np.array(rows, np.int64)


def _is_at_its_row(one: SelectedImage, images_NHWC: np.ndarray) -> bool:
    return one.index < len(images_NHWC) and hash_image(images_NHWC[one.index]) == one.digest
