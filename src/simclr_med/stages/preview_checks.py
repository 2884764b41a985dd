"""What will bite when a data set is trained on as it is: sentences that a look at it prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FEW_PIXELS = 10  # of a crop's side: too few to tell what it is of
FEW_IMAGES = 10  # of a class, to learn it from


def check_sequence(
    sequences: Mapping[str, Sequence[Mapping[str, Any]]], side: int, grey: bool, mirror_p: float
) -> list[str]:
    """What augmentation sequences do that these images suffer from, each once with the sequences that do it.

    Args:
        sequences: by name, their ops as conf/augmentation states them.
        side: of the images in pixels.
        grey: whether they have no colour.
        mirror_p: probability of a flip that the data set allows; 0 where left and right differ in meaning.
    """
    found: dict[str, list[str]] = {}
    for name, ops in sequences.items():
        for op in ops:
            for caution in _of(op, side, grey, mirror_p):
                names = found.setdefault(caution, [])
                names += [] if name in names else [name]
    return [f"{', '.join(names)}: {caution}" for caution, names in found.items()]


def check_classes(classes: Sequence[str], counts: Sequence[int], budget: str) -> list[str]:
    """Classes that have too few training images.

    Args:
        classes: their names.
        counts: training images of each in the budget.
        budget: the label budget in a word.
    """
    of = "" if budget == "full" else f" in data_fraction={budget}"
    few = [(name, count) for name, count in zip(classes, counts, strict=True) if count < FEW_IMAGES]
    told = ", ".join(f"{name} ({count})" for name, count in few)
    rule = f"have fewer than {FEW_IMAGES} training images{of}; scores of such classes are mostly chance"
    return [f"{told}: {rule}."] if few else []


def _of(op: Mapping[str, Any], side: int, grey: bool, mirror_p: float) -> Iterator[str]:
    kind = str(op["_target_"]).rpartition(".")[2]
    if kind == "horizontal_flip" and op["p"] > 0 and mirror_p == 0:
        yield "mirrors images whose left and right differ in meaning (dataset.mirror_p=0). Take one without a flip."
    if kind == "random_resized_crop":
        low, high = op["scale"]
        yield from _small_crops(low, high, side)
    if grey and (kind == "random_grayscale" or op.get("saturation") or op.get("hue")):
        yield "saturation, hue and grayscale change nothing here, for the images are grey already."


def _small_crops(low: float, high: float, side: int) -> Iterator[str]:
    smallest, bound = low**0.5 * side, (FEW_PIXELS / side) ** 2
    if smallest < FEW_PIXELS:
        share = (min(bound, high) - low) / (high - low) if high > low else 1.0
        yield (
            f"random crops get down to {smallest:.0f} px a side (scale {low:g} of {side} px), {share:.0%} of them are "
            f"under {FEW_PIXELS} px. Raise the crop's scale, or take larger images."
        )
