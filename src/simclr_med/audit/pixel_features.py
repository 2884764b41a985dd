"""Features that need no training: whitened pixels, and whitened spectra, which a shift does not change.

Shape letters: N images, S side in pixels, C channels, P values of an image, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

SHRUNKEN = 14  # pixels: small shifts of an object hardly change what is left
FREQUENCIES = 8  # of each axis, from the lowest; higher ones hold noise and traces of compression
WIDTH = 64  # features
FITTED = 10_000  # images that the whitening is fitted to, at most
CHUNK = 4096  # images described at a time

Describe = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Whitened:
    """Values of images, whitened by the principal components of the set itself.

    What all images have in common (a fundus, a rib cage) becomes as small as any other variation, so that the
    similarity of two images is about what they alone share.

    Attributes:
        describe: images to values float32 [N, P].
        mean_P, project_PD: of the values.
    """

    describe: Describe
    mean_P: np.ndarray
    project_PD: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return features float32 [N, D] of length 1."""
        starts = range(0, len(images), CHUNK)
        blocks = [(self.describe(images[i : i + CHUNK]) - self.mean_P) @ self.project_PD for i in starts]
        features_ND = np.concatenate(blocks)
        return features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)


def fit_whitening(describe: Describe, images: np.ndarray, seed: int) -> Whitened:
    """Fit the whitening to at most `FITTED` of the images."""
    rows = np.random.default_rng(seed).permutation(len(images))[:FITTED]
    values_NP = describe(images[rows])
    mean_P = values_NP.mean(axis=0)
    _, scales, axes = np.linalg.svd(values_NP - mean_P, full_matrices=False)
    kept = min(WIDTH, int((scales > 1e-3 * scales[0]).sum())) if scales[0] > 0 else 1
    project_PD = axes[:kept].T * (np.sqrt(len(values_NP)) / np.maximum(scales[:kept], 1e-12))
    return Whitened(describe, mean_P, project_PD.astype(np.float32))


def describe_pixels(images_NSSC: np.ndarray) -> np.ndarray:
    """Return shrunken pixels with mean 0 and standard deviation 1 in each image, so without brightness and contrast."""
    side = min(SHRUNKEN, images_NSSC.shape[1])
    batch = torch.from_numpy(images_NSSC).permute(0, 3, 1, 2).float()
    return _standardise(F.interpolate(batch, (side, side), mode="area").flatten(1)).numpy()


def describe_spectrum(grey_NSS: np.ndarray) -> np.ndarray:
    """Return the square roots of the magnitudes of the low frequencies of each standardised image.

    A shift changes only the phases, and half a turn does not change the magnitudes at all (Reddy and Chatterji 1996 use
    them for registration). A Hann window removes the edges.
    """
    count, side = grey_NSS.shape[:2]
    window = torch.hann_window(side + 2, periodic=False)[1:-1]
    pixels = _standardise(torch.from_numpy(grey_NSS).flatten(1)).reshape(count, side, side)
    magnitude = torch.fft.rfft2(pixels * window * window[:, None]).abs()
    kept = min(FREQUENCIES, magnitude.shape[2])
    rows = torch.cat([magnitude[:, :kept, :kept], magnitude[:, 1 - kept :, :kept]], dim=1)
    return rows.flatten(1).sqrt().numpy()


def _standardise(pixels_NP: torch.Tensor) -> torch.Tensor:
    pixels_NP = pixels_NP - pixels_NP.mean(dim=1, keepdim=True)
    return pixels_NP / pixels_NP.std(dim=1, keepdim=True).clamp_min(1e-3)
