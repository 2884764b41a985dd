"""The rules of MedMNIST's layout: ``{split}_images`` are uint8 images, ``{split}_labels`` are integers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from simclr_med.data.limits import MOST_LABEL_BYTES
from simclr_med.errors import DataError
from simclr_med.types import MULTI_LABEL, Task

LABEL_BYTES = 8  # of one label in memory
MOST_CHANNELS = 16
MIN_SIDE = 4  # pixels: smaller images leave nothing to crop or blur


def check_image_shape(file: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, int, int, int]:
    """Check that an array contains images, and return its shape as (N, H, W, C).

    Args:
        file, key: the file and the array's name, for the error.
        shape: [N, H, W] or [N, H, W, C] with C from 1 to `MOST_CHANNELS`, fewer than H and W.
        dtype: uint8.

    Raises:
        DataError: the array does not contain images.
    """
    where = f"{file}[{key}]"
    if dtype != np.uint8:
        raise DataError(f"{where}={describe_dtype(dtype)}: expected uint8 in 0..255. {_advise_conversion(dtype)}")
    if len(shape) not in (3, 4) or (len(shape) == 4 and not _are_channels(shape[3], min(shape[1:3]))):
        raise DataError(
            f"{where}={list(shape)}: expected [N, H, W], or [N, H, W, C] with 1 to {MOST_CHANNELS} channels. "
            f"{_advise_reshaping(shape)}"
        )
    if shape[0] == 0:
        raise DataError(f"{where}={list(shape)}: expected at least one image. Add images to this split.")
    if min(shape[1:3]) < MIN_SIDE:
        raise DataError(
            f"{where}={list(shape)}: expected images of at least {MIN_SIDE} x {MIN_SIDE} pixels. Use larger images."
        )
    return shape[0], shape[1], shape[2], shape[3] if len(shape) == 4 else 1


def _are_channels(count: int, side: int) -> bool:
    """Return whether the last axis can be that of the channels; a long one is a side of the images."""
    return count in (1, 3) or (1 < count <= MOST_CHANNELS and count < side)


def _advise_conversion(dtype: np.dtype) -> str:
    if dtype.kind == "f":
        return "Convert images in 0..1 with np.rint(images * 255).astype(np.uint8)."
    if dtype == np.uint16:
        return "Convert images that use all 16 bits with (images // 257).astype(np.uint8)."
    return "Convert the images and save the file again."


def _advise_reshaping(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and _are_channels(shape[1], min(shape[2:])):
        return "Move the channels to the last axis with np.moveaxis(images, 1, 3)."
    return "Reshape the array, or save slices of volumes as images."


def check_image_size(file: Path, key: str, shape: tuple[int, int, int, int], size: int, channels: int) -> None:
    """Check that images [N, H, W, C] have the size and channels that the data set states.

    Raises:
        DataError: size or channels differ.
    """
    if shape[1:] != (size, size, channels):
        raise DataError(
            f"{file}[{key}]={list(shape)}: expected [N, {size}, {size}, {channels}] with dataset.size={size}. "
            "Set dataset.size to the size of this file, or replace the file."
        )


def check_labels(file: Path, key: str, labels: np.ndarray, task: Task, classes: int, images: int) -> np.ndarray:
    """Check labels and return them as int64 [N, L].

    Args:
        file, key: the file and the array's name, for the error.
        labels: integers [N] or [N, L].
        task: a multi-label task has L = K columns, every other task L = 1.
        classes: K; labels are in 0..K-1, or in 0..1 if multi-label.
        images: N, the number of images of the split.

    Raises:
        DataError: the labels break one of these rules.
    """
    matrix = reshape_labels(file, key, labels)
    columns = classes if task == MULTI_LABEL else 1
    if len(matrix) != images:
        raise DataError(
            f"{file}[{key}]={list(labels.shape)}: expected one row for each of the {images} images. "
            "Save images and labels with the same number of rows."
        )
    if matrix.shape[1] != columns:
        raise DataError(
            f"{file}[{key}]={list(labels.shape)}: expected {columns} column{'s' * (columns > 1)} for the task {task} "
            f"with {classes} classes. Correct the labels, dataset.task or dataset.class_names."
        )
    highest = 1 if task == MULTI_LABEL else classes - 1
    wrong = matrix[(matrix < 0) | (matrix > highest)]
    if wrong.size:
        raise DataError(
            f"{file}[{key}]={wrong[0]}: expected labels in 0..{highest}; {wrong.size} labels are outside. "
            "Correct the labels, or the number of classes."
        )
    return matrix


def reshape_labels(file: Path, key: str, labels: np.ndarray) -> np.ndarray:
    """Return integer labels [N] or [N, L] as int64 [N, L].

    Raises:
        DataError: as `check_label_shape`.
    """
    check_label_shape(file, key, labels.shape, labels.dtype)
    columns = labels.shape[1] if labels.ndim == 2 else 1
    return labels.astype(np.int64, copy=False).reshape(len(labels), columns)


def check_label_shape(file: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Check that an array contains labels, before it is read.

    Raises:
        DataError: the labels are not integers, have another shape, or are far too many.
    """
    if dtype.kind not in "iub":
        kind = "text" if dtype.kind in "US" else describe_dtype(dtype)
        raise DataError(f"{file}[{key}]={kind}: expected integers. Save the labels as integers from 0.")
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] == 0):
        raise DataError(f"{file}[{key}]={list(shape)}: expected [N] or [N, L]. Reshape the labels.")
    if math.prod(shape) * LABEL_BYTES > MOST_LABEL_BYTES:
        most = MOST_LABEL_BYTES // LABEL_BYTES / 1e6
        raise DataError(
            f"{file}[{key}]={list(shape)}: expected at most {most:.0f} million labels. Save one number for each image "
            "instead of one-hot labels, or remove images."
        )


def describe_dtype(dtype: np.dtype) -> str:
    """Return the type of an array in a few words."""
    return str(dtype) if dtype.names is None and dtype.subdtype is None else "a structured array"


def infer_task(columns: int, classes: int) -> Task:
    """Return the task of labels [N, columns] with this number of classes if the user states none."""
    if columns > 1:
        return MULTI_LABEL
    return "binary-class" if classes == 2 else "multi-class"
