"""The images of a label budget in the memory of a GPU, copied once, where they fit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from simclr_med.transfer import to_device

SHARE = 0.5  # of the GPU's free memory that the images may take; the rest is for activations and other processes
BLOCK_BYTES = 1 << 28  # copied at a time, which limits the pinned memory


def fits_on_device(images_NHWC: np.ndarray, rows_M: np.ndarray, free_bytes: int) -> bool:
    """Return whether these rows take at most SHARE of a GPU's free memory."""
    return _count_bytes(images_NHWC, len(rows_M)) <= SHARE * free_bytes


def copy_to_device(images_NHWC: np.ndarray, rows_M: np.ndarray, device: torch.device) -> Tensor:
    """Return these rows on the device, uint8 [M, H, W, C] in the order of rows_M; a memory map is read in blocks."""
    copied = torch.empty((len(rows_M), *images_NHWC.shape[1:]), dtype=torch.uint8, device=device)
    block = max(1, BLOCK_BYTES // _count_bytes(images_NHWC, 1))
    for start in range(0, len(rows_M), block):
        part = torch.from_numpy(np.take(images_NHWC, rows_M[start : start + block], axis=0))
        copied[start : start + len(part)] = to_device(part, device)
    return copied


def _count_bytes(images_NHWC: np.ndarray, rows: int) -> int:
    return rows * int(np.prod(images_NHWC.shape[1:], dtype=np.int64))
