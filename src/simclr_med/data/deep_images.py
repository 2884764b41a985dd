"""Choose how images of a folder with more than 8 bits become 0..255, and describe it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simclr_med.data.decoding import sample_images
from simclr_med.data.intensity import IntensityRange, Scale, measure_range
from simclr_med.data.json_cache import cached_record
from simclr_med.data.progress import show_progress
from simclr_med.data.source import Remarks

VERSION = 1  # increase with every change of how the range is measured
MOST_MEASURED = 2000  # images: more of them hardly change a percentile
TWELVE_BITS = 4096
FEW_FLAT = 0.1  # a smaller share of the images is blank or dark in most sets


def measure_deep_images(root: Path, names: Sequence[str], digest: str) -> IntensityRange | None:
    """Measure the values of images, or take them from the user's cache; None if none has more than 8 bits.

    Args:
        root: the folder.
        names: of the training images that may have more than 8 bits; `MOST_MEASURED` of them are read, evenly spread.
        digest: hash of the folder's files.
    """
    count = min(len(names), MOST_MEASURED)
    chosen = [names[position * len(names) // count] for position in range(count)]

    def measure() -> list[Any]:
        spreads = []
        with show_progress(f"Measuring {root.name}", "images") as update:
            for block in sample_images(root, chosen):
                spreads += block
                update(len(spreads), len(chosen))
        return list(measure_range(spreads)) if spreads else []

    record = cached_record(["range", digest, chosen, VERSION], _is_intact, measure)
    return IntensityRange(*record) if record else None


def _is_intact(record: Any) -> bool:
    if not isinstance(record, list) or len(record) not in (0, len(IntensityRange._fields)):
        return False
    return all(isinstance(value, (int, float)) or value is None for value in record)


def describe_scale(scale: Scale, measured: IntensityRange | None, deep: int) -> Remarks:
    """Return the sentences about the values of a data set.

    Args:
        scale: of its images.
        measured: None if nothing was measured, which ``window`` and ``per_image`` do not need.
        deep: number of images with more than 8 bits.
    """
    who = f"{deep:,} image{'s' if deep > 1 else ''} with more than 8 bits"
    if scale.needs_own_window:
        return Remarks((f"{who}: each is shown in the window that its file states (dataset.intensity=window).",))
    if scale.rule == "per_image":
        return Remarks((f"{who}: the image's own lowest to highest value becomes 0 to 255.",))
    if scale.bounds is None:
        fact = f"{who}: the whole range of the file's type, such as 0 to 65,535, becomes 0 to 255."
    else:
        low, high = scale.bounds
        fact = f"{who}: {_format(low)} to {_format(high)} become 0 to 255 (dataset.intensity={scale.rule})."
        if measured is not None:
            fact = (
                f"{fact[:-2]}, measured on {measured.measured:,} training images). For the same range on other images: "
                f"dataset.intensity=window dataset.window=[{(low + high) / 2:g},{high - low:g}]."
            )
    return Remarks((fact,), () if measured is None else tuple(_warnings(scale, measured)))


def _warnings(scale: Scale, measured: IntensityRange) -> list[str]:
    is_full = scale.rule == "full"
    if is_full and measured.largest is not None and measured.largest < TWELVE_BITS:
        return [
            f"dataset.intensity=full: the largest value of the 16-bit images is {measured.largest:,.0f} of 65,535, so "
            "they are nearly black. Use dataset.intensity=dataset."
        ]
    flat = measured.flat_in_full if is_full else measured.flat_in_dataset
    if flat < FEW_FLAT * measured.measured:
        return []
    return [
        f"dataset.intensity={scale.rule}: {flat:,} of {measured.measured:,} training images use less than an eighth of "
        "the range, and are dark or have little contrast. Use dataset.intensity=per_image, or one folder for each kind "
        "of image."
    ]


def _format(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == np.round(value) else f"{value:.3g}"
