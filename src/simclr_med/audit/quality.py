"""Images that hold little or nothing: constant, almost black, overexposed, enlarged, small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simclr_med.audit.findings import Finding
from simclr_med.audit.pool import Pool

BLACK = 0.98  # of the pixels: an image with more black ones shows next to nothing
WHITE = 0.25  # of the pixels at 255 ...
OUTLIER = 6.0  # ... and this many robust standard deviations from the set's median (Hampel 1974 uses 3)
# Of an image's variance, and robust standard deviations below the set's median in the logarithm. Halving and enlarging
# changes 4 to 10 % of sharp medical images, 0.8 % (0.5 to 1.5 %) of images that were enlarged twofold before.
LEAST_DETAIL, SMOOTH = 0.01, 4.0
# Regularity and robust standard deviations of roughness below the set's median: each alone, or both together. Chosen on
# chest X-rays and blood cells of 64 px: 3 of 7,688 images pass, and 99 to 100 % of those enlarged from 28 to 64 px.
REGULAR, BLURRED = 4.3, 5.0
BOTH_REGULAR, BOTH_BLURRED = 2.5, 2.5
SMALLEST = 24  # pixels of a side: below, most structures of medical images are lost (MedMNIST's smallest size is 28)


def find_poor_images(pool: Pool) -> Iterator[Finding]:
    """Yield a finding for each image, and one for a data set of small images."""
    values = pool.values
    constant_N = values.spread_N == 0
    for image in np.flatnonzero(constant_N):
        yield Finding("constant", "all pixels have one value", int(image), score=0.0)
    for image in np.flatnonzero((values.black_N >= BLACK) & ~constant_N):
        yield Finding(
            "near_black",
            f"{values.black_N[image]:.1%} of the pixels are black",
            int(image),
            None,
            float(values.black_N[image]),
        )
    for image in np.flatnonzero((values.white_N >= WHITE) & (_deviation(values.white_N) > OUTLIER) & ~constant_N):
        yield Finding(
            "clipped",
            f"{values.white_N[image]:.0%} of the pixels have the largest value",
            int(image),
            None,
            float(values.white_N[image]),
        )
    detail_N = pool.detail_N
    is_smooth = (detail_N < LEAST_DETAIL) & (_deviation(-np.log(np.maximum(detail_N, 1e-9))) > SMOOTH)
    is_enlarged, side_N = _is_enlarged(pool.traces_N3), pool.traces_N3[:, 2]
    is_small = side_N < pool.side
    for image in np.flatnonzero((is_smooth | is_enlarged | is_small) & (values.black_N < BLACK) & ~constant_N):
        words = "the pixels have traces of interpolation" if is_enlarged[image] else "as smooth as an enlarged image"
        if is_small[image]:
            words = f"the file has {side_N[image]:.0f} px a side, so that it is enlarged to {pool.side} px"
        yield Finding("upscaled", words, int(image), None, float(detail_N[image]))
    if pool.side < SMALLEST:
        yield Finding("tiny", f"the images have {pool.side} px a side", score=float(pool.side))


def _is_enlarged(traces_N3: np.ndarray) -> np.ndarray:
    """Return which images have traces of interpolation, bool [N]; none without a measurement (NaN)."""
    regular_N, rough_N, _ = traces_N3.T
    known_N = np.isfinite(rough_N)
    found_N = np.zeros(len(traces_N3), bool)
    if known_N.any():
        regular_N, blurred_N = regular_N[known_N], _deviation(-rough_N[known_N])
        both_N = (regular_N > BOTH_REGULAR) & (blurred_N > BOTH_BLURRED)
        found_N[known_N] = (regular_N > REGULAR) | (blurred_N > BLURRED) | both_N
    return found_N


def _deviation(values_N: np.ndarray) -> np.ndarray:
    """Return how far above the median each value is, in robust standard deviations (1.4826 x MAD)."""
    median = np.median(values_N)
    scale = 1.4826 * np.median(np.abs(values_N - median))
    return (values_N - median) / max(scale, 1e-6)
