"""The similarity of two images, pixel by pixel, at several shifts and in an orientation.

Shape letters: N images, P pairs, S side in pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ORIENTATIONS = 8  # rotations by quarters, each also mirrored
SHIFT = 2  # pixels of the small copies, in each direction
BLOCK = 4096  # pairs compared at a time
COMMON = 30  # principal components of the details that count as common to the set
FITTED = 5_000  # images that they are fitted to, at most
BLUR = 5  # pixels; what is left after subtracting the mean of this neighbourhood is an image's detail


def orient(images_NSS: np.ndarray, orientation: int) -> np.ndarray:
    """Return square images turned by orientation % 4 quarters, and mirrored before that for orientation >= 4."""
    flipped = images_NSS[:, :, ::-1] if orientation >= 4 else images_NSS
    return np.ascontiguousarray(np.rot90(flipped, orientation % 4, axes=(1, 2)))


def measure_detail(grey_NSS: np.ndarray) -> np.ndarray:
    """Return the images minus their local mean, float32 [N, S, S]."""
    batch = torch.from_numpy(grey_NSS)[:, None]
    local = F.avg_pool2d(batch, BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)
    return (batch - local)[:, 0].numpy()


def remove_common(images_NSS: np.ndarray, seed: int) -> np.ndarray:
    """Return the images minus their mean and their projection on its principal components, float32 [N, S, S].

    What is left belongs to each image alone; it survives compression, but less of it a shift.
    """
    flat_NP = images_NSS.reshape(len(images_NSS), -1)
    sample_NP = flat_NP[np.random.default_rng(seed).permutation(len(flat_NP))[:FITTED]]
    mean_P = sample_NP.mean(axis=0)
    # The small matrix of second moments: an SVD of the sample takes seconds.
    _, axes_PK = np.linalg.eigh((sample_NP - mean_P).T @ (sample_NP - mean_P))
    common_PK = axes_PK[:, -min(COMMON, len(sample_NP) // 4) :]
    centred_NP = flat_NP - mean_P
    own_NP = centred_NP - (centred_NP @ common_PK) @ common_PK.T
    return own_NP.reshape(images_NSS.shape).astype(np.float32)


def correlate(images_NSS: np.ndarray, first_P: np.ndarray, second_P: np.ndarray, turned_P: np.ndarray) -> np.ndarray:
    """Return the largest correlation of each pair over the shifts, float32 [P].

    The middle of the first image is compared with every window of its size in the second one.

    Args:
        images_NSS: float32.
        first_P, second_P: rows of the pairs.
        turned_P: orientation of the second image, as in `orient`.
    """
    best_P = np.full(len(first_P), -1.0, np.float32)
    for orientation in np.unique(turned_P):
        pairs = np.flatnonzero(turned_P == orientation)
        for start in range(0, len(pairs), BLOCK):
            block = pairs[start : start + BLOCK]
            second = orient(images_NSS[second_P[block]], int(orientation))
            found = _largest(torch.from_numpy(images_NSS[first_P[block]]), torch.from_numpy(second))
            best_P[block] = found.numpy()
    return best_P


def _largest(first_PSS: Tensor, second_PSS: Tensor) -> Tensor:
    side = first_PSS.shape[1] - 2 * SHIFT
    middle = _normalise(first_PSS[:, SHIFT : SHIFT + side, SHIFT : SHIFT + side])
    best = torch.full((len(first_PSS),), -1.0)
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            window = _normalise(second_PSS[:, top : top + side, left : left + side])
            best = torch.maximum(best, (middle * window).sum(dim=1))
    return best


def _normalise(windows: Tensor) -> Tensor:
    flat = windows.flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-3)
