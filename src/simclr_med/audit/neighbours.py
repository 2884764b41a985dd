"""Exact nearest neighbours among all images by blocked matrix products, upright and in eight orientations.

Shape letters: N images, S side in pixels, D features, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 512  # queries compared with all images at a time; 100,000 images then take 0.2 GB
SHRUNKEN = 14  # pixels: shifts of a pixel or two hardly change what is left
WIDTH = 64  # features of the pixels
FITTED = 10_000  # images that the whitening is fitted to, at most
CHUNK = 4096  # images shrunken at a time
ORIENTATIONS = 8  # rotations by quarters, each also mirrored


def orient(images: np.ndarray, orientation: int) -> np.ndarray:
    """Return square images turned by orientation % 4 quarters, and mirrored before that for orientation >= 4.

    Args:
        images: [N, S, S] or [N, S, S, C].
        orientation: from 0 (unchanged) to `ORIENTATIONS` - 1.
    """
    flipped = images[:, :, ::-1] if orientation >= 4 else images
    return np.ascontiguousarray(np.rot90(flipped, orientation % 4, axes=(1, 2)))


@dataclass(frozen=True)
class PixelFeatures:
    """Small standardised pixels, whitened by the principal components of the set itself.

    What all images have in common (a fundus, a rib cage) becomes as small as any other variation, so that the
    similarity of two images is about what they alone share. Brightness and contrast have no effect.

    Attributes:
        mean_P, project_PD: of the standardised pixels.
    """

    mean_P: np.ndarray
    project_PD: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return features float32 [N, D] of length 1 of images [N, S, S] or [N, S, S, C]."""
        blocks = [
            (_standardise(images[start : start + CHUNK]) - self.mean_P) @ self.project_PD
            for start in range(0, len(images), CHUNK)
        ]
        features_ND = np.concatenate(blocks)
        return features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)


def fit_pixel_features(images: np.ndarray, seed: int) -> PixelFeatures:
    """Fit the whitening to at most `FITTED` images [N, S, S] or [N, S, S, C]."""
    rows = np.random.default_rng(seed).permutation(len(images))[:FITTED]
    pixels_NP = _standardise(images[rows])
    mean_P = pixels_NP.mean(axis=0)
    _, scales, axes = np.linalg.svd(pixels_NP - mean_P, full_matrices=False)
    kept = min(WIDTH, int((scales > 1e-3 * scales[0]).sum())) if scales[0] > 0 else 1
    project = axes[:kept].T * (np.sqrt(len(pixels_NP)) / np.maximum(scales[:kept], 1e-12))
    return PixelFeatures(mean_P, project.astype(np.float32))


def _standardise(images: np.ndarray) -> np.ndarray:
    """Return shrunken pixels float32 [N, P] with mean 0 and standard deviation 1 in each image."""
    side = min(SHRUNKEN, images.shape[1])
    batch = torch.from_numpy(images).flatten(3) if images.ndim == 4 else torch.from_numpy(images)[..., None]
    pixels_NP = F.interpolate(batch.permute(0, 3, 1, 2).float(), (side, side), mode="area").flatten(1)
    pixels_NP = pixels_NP - pixels_NP.mean(dim=1, keepdim=True)
    return (pixels_NP / pixels_NP.std(dim=1, keepdim=True).clamp_min(1e-3)).numpy()


@dataclass(frozen=True)
class Nearest:
    """The neighbours of each image.

    Attributes:
        rows_NK: int64, nearest first.
        cosine_NK: their similarity.
    """

    rows_NK: np.ndarray
    cosine_NK: np.ndarray


def find_nearest(
    features_ND: np.ndarray, count: int, on_images: Callable[[int], None] = lambda done: None
) -> Nearest:
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


def find_turned(features_ND: np.ndarray, turned_ND: np.ndarray) -> Nearest:
    """Return the nearest other image of each image when the others are turned; K = 1.

    Args:
        features_ND: of the images.
        turned_ND: of the same images in another orientation.
    """
    rows, values = [], []
    for _, cosine_BN in _blocks(features_ND, turned_ND):
        found = cosine_BN.max(dim=1, keepdim=True)
        rows.append(found.indices)
        values.append(found.values)
    return Nearest(torch.cat(rows).numpy(), torch.cat(values).numpy())


def _blocks(queries_ND: np.ndarray, bank_ND: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, cosine_BN) of each block of queries; an image is not its own neighbour."""
    bank_DN = torch.from_numpy(bank_ND).T
    for start in range(0, len(queries_ND), BLOCK):
        cosine_BN = torch.from_numpy(queries_ND[start : start + BLOCK]) @ bank_DN
        own = torch.arange(len(cosine_BN))
        cosine_BN[own, own + start] = -2.0
        yield start, cosine_BN
