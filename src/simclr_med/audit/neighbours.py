"""Exact nearest neighbours among all images, by blocked matrix products.

Shape letters: N images, D features, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 512  # queries compared with all images at a time; 100,000 images then take 0.2 GB


@dataclass(frozen=True)
class Nearest:
    """The neighbours of each image.

    Attributes:
        rows_NK: int64, nearest first.
        cosine_NK: their similarity.
    """

    rows_NK: np.ndarray
    cosine_NK: np.ndarray


def find_nearest(features_ND: np.ndarray, count: int, on_images: Callable[[int], None] = lambda done: None) -> Nearest:
    """Return the nearest other images of each image by cosine, exactly.

    Args:
        features_ND: float32, of length 1.
        count: K; at most N - 1 are returned.
        on_images: called with the number of images that are done.
    """
    rows, values = [], []
    count = min(count, len(features_ND) - 1)
    for start, cosine_BN in _blocks(features_ND, features_ND):
        found = cosine_BN.topk(count, dim=1)
        rows.append(found.indices)
        values.append(found.values)
        on_images(start + len(cosine_BN))
    return Nearest(torch.cat(rows).numpy(), torch.cat(values).numpy())


def find_turned(features_ND: np.ndarray, turned_ND: np.ndarray) -> np.ndarray:
    """Return the nearest other image of each image when the others are turned, int64 [N].

    Args:
        features_ND: of the images.
        turned_ND: of the same images in another orientation.
    """
    return torch.cat([cosine_BN.argmax(dim=1) for _, cosine_BN in _blocks(features_ND, turned_ND)]).numpy()


def _blocks(queries_ND: np.ndarray, bank_ND: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, cosine_BN) of each block of queries; an image is not its own neighbour."""
    bank_DN = torch.from_numpy(bank_ND).T
    for start in range(0, len(queries_ND), BLOCK):
        cosine_BN = torch.from_numpy(queries_ND[start : start + BLOCK]) @ bank_DN
        own = torch.arange(len(cosine_BN))
        cosine_BN[own, own + start] = -2.0
        yield start, cosine_BN
