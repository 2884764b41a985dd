"""How values of more than 8 bits become 0..255: the rules of ``dataset.intensity``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Intensity = Literal["full", "dataset", "window", "per_image"]
Bounds = tuple[float, float]

FULL_16_BITS: Bounds = (0.0, 65535.0)
# A few pixels, such as burnt-in letters or a defect of the detector, must not darken all images. Both ends are clipped.
TAILS = (0.1, 99.9)  # percentiles of the sampled pixels
SAMPLED_PIXELS = 4096  # of each image
FLAT = 1 / 8  # of the range: an image that uses less has little contrast


class Scale(NamedTuple):
    """A rule with its bounds.

    Attributes:
        rule: ``full``: the whole range of the file's type; ``per_image``: the image's own lowest..highest value;
            ``dataset`` and ``window``: `bounds` for all images.
        bounds: the values that become 0 and 255; None with ``window`` takes the window that a DICOM file states.
    """

    rule: Intensity
    bounds: Bounds | None = None

    @property
    def needs_own_window(self) -> bool:
        """Whether each file has to state its window."""
        return self.rule == "window" and self.bounds is None


FULL = Scale("full")


@dataclass(frozen=True)
class DeepImage:
    """An image with more than 8 bits per value.

    Attributes:
        values: [H, W] or [H, W, 3], integers or finite floats.
        full: the lowest and highest value of the file's type.
        window: the values that the file states to be shown as black and white; None without.
        is_inverted: whether low values are bright (MONOCHROME1).
    """

    values: np.ndarray
    full: Bounds = FULL_16_BITS
    window: Bounds | None = None
    is_inverted: bool = False


class Spread(NamedTuple):
    """Sampled values of one image, and the range of its file's type."""

    values: np.ndarray
    full: Bounds


class IntensityRange(NamedTuple):
    """The values of the deep images of a data set.

    Attributes:
        low, high: the percentiles `TAILS` of all sampled pixels.
        largest: the largest sampled value of files of 16 bits; None without such files.
        measured: number of images that were sampled.
        flat_in_dataset, flat_in_full: images that use less than `FLAT` of low..high, or of their type's range.
    """

    low: float
    high: float
    largest: float | None
    measured: int
    flat_in_dataset: int
    flat_in_full: int


def reduce_to_8_bits(image: DeepImage, scale: Scale) -> np.ndarray:
    """Return uint8 in 0..255: values below the bounds become 0, those above become 255; inverts inverted images.

    Raises:
        ValueError: the rule needs the file's own window, and it has none.
    """
    low, high = _find_bounds(image, scale)
    factor = 255 / ((high - low) or 1.0)
    reduced = np.empty(image.values.shape, np.uint8)
    for row, values in enumerate(image.values):  # row by row: in float64 the whole image would take 8 times its size
        reduced[row] = np.rint(np.clip((values.astype(np.float64) - low) * factor, 0, 255))
    return 255 - reduced if image.is_inverted else reduced


def _find_bounds(image: DeepImage, scale: Scale) -> Bounds:
    if scale.bounds is not None:
        return scale.bounds
    if scale.rule == "per_image":
        return float(image.values.min()), float(image.values.max())
    if scale.rule == "full":
        return image.full
    if image.window is None:
        raise ValueError("the file states no window")
    return image.window


def sample_spread(image: DeepImage) -> Spread:
    """Return `SAMPLED_PIXELS` values of an image, drawn with a fixed seed, with its lowest and highest value."""
    values = image.values.reshape(-1)
    # Random places: an even step could stay in one column.
    drawn = values[np.random.default_rng(0).integers(0, len(values), SAMPLED_PIXELS)]
    return Spread(np.concatenate([drawn, [values.min(), values.max()]]).astype(np.float32), image.full)


def measure_range(spreads: Iterable[Spread]) -> IntensityRange:
    """Measure the range of a data set; every image has the same weight."""
    kept = list(spreads)
    pooled = np.concatenate([spread.values for spread in kept])
    low, high = (float(value) for value in np.percentile(pooled, TAILS))
    if low == high:
        low, high = float(pooled.min()), float(pooled.max())
    largest = [float(spread.values.max()) for spread in kept if spread.full == FULL_16_BITS]
    contrasts = [float(np.subtract(*np.percentile(spread.values, (99, 1)))) for spread in kept]
    return IntensityRange(
        low,
        high,
        max(largest, default=None),
        len(kept),
        sum(bool(contrast < FLAT * (high - low)) for contrast in contrasts),
        sum(bool(contrast < FLAT * np.ptp(spread.full)) for contrast, spread in zip(contrasts, kept, strict=True)),
    )
