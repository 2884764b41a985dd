"""Types shared by all packages. Imports no other module of this package, and no torch at run time.

Shape letters, used in augment, models and training (``images_BCHW``, ``projections_2BP``):
B batch, C channels, H W pixels, D features, P projection, K classes, N data set size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

# What a training stage validates: the validation split, images that the label budget holds out, or nothing.
ValidationImages = Literal["split", "held_out", "none"]

# medmnist's names of its four tasks (medmnist/info.py, key "task").
Task = Literal["multi-class", "binary-class", "multi-label, binary-class", "ordinal-regression"]
MULTI_LABEL: Task = "multi-label, binary-class"


class Batch(NamedTuple):
    """The share of a global batch that one process trains on.

    Attributes:
        images: uint8 [B, H, W, C] in [0, 255].
        labels: int64 [B, L] in medmnist's layout (L = 1, or one column per label if multi-label),
            or None for a data set without labels.
        indices: int64 [B], rows of the split.
        key: (seed, epoch, step), the seed of the batch's augmentation.
        rows: (start, stop) of this share in the global batch.
        size: images in the global batch.
        partners: uint8 [B, H, W, C], the image of the second view of each image; None takes the image itself.
        patients: int64 [B], the number of each image's patient, if NT-Xent masks images of the same patient; else None.
    """

    images: Tensor
    labels: Tensor | None
    indices: Tensor
    key: tuple[int, int, int]
    rows: tuple[int, int]
    size: int
    partners: Tensor | None = None
    patients: Tensor | None = None


class KnnSets(NamedTuple):
    """Labelled images for the monitors of pretraining: a k-nearest-neighbour classifier and a linear probe.

    Attributes:
        bank_NHWC, queries_MHWC: training and validation images, uint8.
        bank_targets_NK, targets_MK: one-hot or multi-label, float.
        task: the kind of labels.
    """

    bank_NHWC: np.ndarray
    bank_targets_NK: Tensor
    queries_MHWC: np.ndarray
    targets_MK: Tensor
    task: Task
