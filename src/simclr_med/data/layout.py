"""The rules of MedMNIST's layout (``{split}_images`` uint8, ``{split}_labels`` whole numbers), one line each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simclr_med.errors import DataError
from simclr_med.types import Task

MULTI_LABEL: Task = "multi-label, binary-class"


def image_shape(file: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, int, int, int]:
    """The shape as (N, H, W, C) of an array of images.

    Args:
        file, key: where the array lies, for the error.
        shape: [N, H, W] or [N, H, W, C] with C of 1 or 3.
        dtype: must be uint8.

    Raises:
        DataError: the array is not one of images.
    """
    if dtype != np.uint8:
        raise DataError(f"{file}[{key}]={dtype}: must be uint8 in 0..255. Convert the images and save the file again.")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or 0 in shape[1:]:
        raise DataError(f"{file}[{key}]={list(shape)}: must be [N, H, W] or [N, H, W, 3]. Reshape the array.")
    if shape[0] == 0:
        raise DataError(f"{file}[{key}]={list(shape)}: must hold at least one image. Give the split some images.")
    return shape[0], shape[1], shape[2], shape[3] if len(shape) == 4 else 1


def square(file: Path, key: str, shape: tuple[int, int, int, int], size: int, channels: int) -> None:
    """Check that images are of the size and colours that the data set's facts state.

    Raises:
        DataError: they are not.
    """
    if shape[1:] != (size, size, channels):
        raise DataError(
            f"{file}[{key}]={list(shape)}: must be [N, {size}, {size}, {channels}] as dataset.size={size} says. "
            "Choose the size of this file, or put the right file there."
        )


def label_matrix(file: Path, key: str, labels: np.ndarray, task: Task, classes: int, images: int) -> np.ndarray:
    """The labels as int64 [N, L], checked.

    Args:
        file, key: where the labels lie, for the error.
        labels: whole numbers [N] or [N, L].
        task: L must be ``classes`` when multi-label, and 1 otherwise.
        classes: K; labels lie in 0..K-1, or in 0..1 when multi-label.
        images: N, the number of images that the labels belong to.

    Raises:
        DataError: the labels break one of these rules.
    """
    matrix = as_matrix(file, key, labels)
    columns = classes if task == MULTI_LABEL else 1
    if len(matrix) != images:
        raise DataError(
            f"{file}[{key}]={list(labels.shape)}: must have one row for each of the {images} images. "
            "Save images and labels of the same rows."
        )
    if matrix.shape[1] != columns:
        raise DataError(
            f"{file}[{key}]={list(labels.shape)}: must have {columns} column{'s' * (columns > 1)} for the task {task} "
            f"with {classes} classes. Correct the labels, dataset.task or dataset.class_names."
        )
    highest = 1 if task == MULTI_LABEL else classes - 1
    wrong = matrix[(matrix < 0) | (matrix > highest)]
    if wrong.size:
        raise DataError(
            f"{file}[{key}]={wrong[0]}: must lie in 0..{highest}, the labels that are known; {wrong.size} do not. "
            "Correct the labels, or the number of classes."
        )
    return matrix


def as_matrix(file: Path, key: str, labels: np.ndarray) -> np.ndarray:
    """Whole-number labels [N] or [N, L] as int64 [N, L].

    Raises:
        DataError: not whole numbers, or of another shape.
    """
    if labels.dtype.kind not in "iub":
        raise DataError(f"{file}[{key}]={labels.dtype}: must be whole numbers. Save the labels as integers.")
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] == 0):
        raise DataError(f"{file}[{key}]={list(labels.shape)}: must be [N] or [N, L]. Reshape the labels.")
    return labels.astype(np.int64).reshape(len(labels), labels.shape[1] if labels.ndim == 2 else 1)


def inferred_task(columns: int, classes: int) -> Task:
    """The task that labels [N, columns] of this many classes pose when nobody says."""
    if columns > 1:
        return MULTI_LABEL
    return "binary-class" if classes == 2 else "multi-class"
