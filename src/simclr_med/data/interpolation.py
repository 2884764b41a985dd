"""Traces of interpolation in an image's pixels, which show that it was enlarged before it was saved.

Shape letters: N images, H, W pixels, P positions along one axis, F frequencies.
"""

from __future__ import annotations

import numpy as np

LEAST_SIDE = 32  # pixels; a smaller image has too few frequencies
MOST_SIDE = 256  # pixels; of a larger image, the middle is measured
LOWEST = 0.12  # of a pixel: frequencies below belong to the content; an enlargement by more than 8 is not found
JPEG = 8  # pixels of a block; its edges are as regular as interpolation, so that their frequencies are left out
_BLOCK = 64  # images measured at a time, which bounds the memory
_SMOOTH = 9  # positions; slower changes of the profile belong to the content


def measure_interpolation(grey_NHW: np.ndarray) -> np.ndarray:
    """Return (regularity, roughness, shorter side in pixels) of each image, float32 [N, 3].

    *Regularity* is that of the second differences: interpolation makes them smaller at regular distances, so that the
    mean over all rows (and over all columns) has a peak in its spectrum (Gallagher 2005). It is the logarithm of the
    largest peak over the median. *Roughness* is the power of the highest frequencies over that of middle ones, as a
    decimal logarithm: enlarging adds none. Both are NaN for images below `LEAST_SIDE`.

    Args:
        grey_NHW: in [0, 255].
    """
    height, width = (min(side, MOST_SIDE) for side in grey_NHW.shape[1:])
    found_N3 = np.full((len(grey_NHW), 3), np.nan, np.float32)
    found_N3[:, 2] = min(grey_NHW.shape[1:])
    if min(height, width) < LEAST_SIDE:
        return found_N3
    top, left = (grey_NHW.shape[1] - height) // 2, (grey_NHW.shape[2] - width) // 2
    middle_NHW = grey_NHW[:, top : top + height, left : left + width]
    for start in range(0, len(grey_NHW), _BLOCK):
        block = middle_NHW[start : start + _BLOCK].astype(np.float32)
        found_N3[start : start + _BLOCK, 0] = _measure_regularity(block)
        found_N3[start : start + _BLOCK, 1] = _measure_roughness(block)
    return found_N3


def _measure_regularity(grey_NHW: np.ndarray) -> np.ndarray:
    spectra = [_profile_spectrum(images) for images in (grey_NHW, grey_NHW.swapaxes(1, 2))]
    # Both axes were enlarged alike, so that a true peak is in both.
    count = min(spectrum.shape[1] for spectrum in spectra)
    both_NF = np.sqrt(spectra[0][:, :count] * spectra[1][:, :count])
    return np.log(np.maximum(both_NF.max(axis=1), 1e-6))


def _profile_spectrum(grey_NHW: np.ndarray) -> np.ndarray:
    """Return the power of the profile of second differences along the last axis, over its median, [N, F]."""
    bent_NP = np.abs(np.diff(grey_NHW, n=2, axis=2)).mean(axis=1)
    profile_NP = np.log(bent_NP + 1e-3)
    half = _SMOOTH // 2
    padded_NP = np.pad(profile_NP, ((0, 0), (half, half)), mode="reflect")
    slow_NP = np.lib.stride_tricks.sliding_window_view(padded_NP, _SMOOTH, axis=1).mean(axis=-1)
    power_NF = np.abs(np.fft.rfft((profile_NP - slow_NP) * np.hanning(profile_NP.shape[1]))) ** 2
    frequency_F = np.fft.rfftfreq(profile_NP.shape[1])
    of_blocks_F = np.abs(frequency_F * JPEG - np.round(frequency_F * JPEG)) < 1.5 * JPEG / profile_NP.shape[1]
    power_NF = power_NF[:, (frequency_F > LOWEST) & ~of_blocks_F]
    return power_NF / np.maximum(np.median(power_NF, axis=1, keepdims=True), 1e-12)


def _measure_roughness(grey_NHW: np.ndarray) -> np.ndarray:
    _, height, width = grey_NHW.shape
    window_HW = np.hanning(height)[:, None] * np.hanning(width)
    centred_NHW = (grey_NHW - grey_NHW.mean(axis=(1, 2), keepdims=True)) * window_HW
    power_NHF = np.abs(np.fft.rfft2(centred_NHW)) ** 2
    frequency_HF = np.maximum(np.abs(np.fft.fftfreq(height))[:, None], np.fft.rfftfreq(width))
    high_N = power_NHF[:, frequency_HF >= 0.32].sum(axis=1)
    middle_N = power_NHF[:, (frequency_HF >= 0.08) & (frequency_HF < 0.2)].sum(axis=1)
    return np.log10((high_N + 1e-6) / (middle_N + 1e-6))
