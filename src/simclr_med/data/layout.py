"""The rules of MedMNIST's layout (``{split}_images`` uint8, ``{split}_labels`` whole numbers), one line each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simclr_med.errors import DataError
from simclr_med.types import MULTI_LABEL, Task

SMALLEST = 4  # pixels: the side below which crops, blurs and pictures of views have nothing to work on


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
        raise DataError(f"{file}[{key}]={dtype}: must be uint8 in 0..255. {_conversion(dtype)}")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(f"{file}[{key}]={list(shape)}: must be [N, H, W] or [N, H, W, 3]. {_reshaping(shape)}")
    if shape[0] == 0:
        raise DataError(f"{file}[{key}]={list(shape)}: must hold at least one image. Give the split some images.")
    if min(shape[1:3]) < SMALLEST:
        raise DataError(
            f"{file}[{key}]={list(shape)}: must be images of at least {SMALLEST} x {SMALLEST} pixels. Take larger ones."
        )
    return shape[0], shape[1], shape[2], shape[3] if len(shape) == 4 else 1


def _conversion(dtype: np.dtype) -> str:
    if dtype.kind == "f":
        return "Convert them: np.rint(images * 255).astype(np.uint8) if they lie in 0..1."
    if dtype == np.uint16:
        return "Convert them: (images // 257).astype(np.uint8) if they use all 16 bits."
    return "Convert them and save the file again."


def _reshaping(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[3] == 4:
        return "Leave out the fourth channel, as images[..., :3]."
    if len(shape) == 4 and shape[1] in (1, 3):
        return "Put the channels last, as np.moveaxis(images, 1, 3)."
    return "Reshape the array, or take slices of volumes."


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
        kind = "text" if labels.dtype.kind in "US" else labels.dtype
        raise DataError(f"{file}[{key}]={kind}: must be whole numbers. Save the labels as integers from 0 on.")
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] == 0):
        raise DataError(f"{file}[{key}]={list(labels.shape)}: must be [N] or [N, L]. Reshape the labels.")
    return labels.astype(np.int64).reshape(len(labels), labels.shape[1] if labels.ndim == 2 else 1)


def infer_task(columns: int, classes: int) -> Task:
    """The task that labels [N, columns] of this many classes pose when nobody says."""
    if columns > 1:
        return MULTI_LABEL
    return "binary-class" if classes == 2 else "multi-class"
