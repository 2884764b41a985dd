"""Warnings about training on a data set as it is, which stage=preview prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FEW_PIXELS = 10  # of a crop's side: too few to recognise anything
MILD_ROTATION = 30  # degrees; beyond, left and right are hard to tell apart
FEW_IMAGES = 10  # of a class, to learn it from


def check_sequence(
    sequences: Mapping[str, Sequence[Mapping[str, Any]]], side: int, grey: bool, mirror_p: float
) -> list[str]:
    """Return what is wrong with augmentation sequences for these images: one sentence each, with the sequences' names.

    Args:
        sequences: by name, their ops as conf/augmentation states them.
        side: of the images in pixels.
        grey: whether they have no colour.
        mirror_p: probability of a flip that the data set allows; 0 where left and right differ in meaning.
    """
    found: dict[str, list[str]] = {}
    for name, ops in sequences.items():
        for op in ops:
            for warning in _check_op(op, side, grey, mirror_p):
                names = found.setdefault(warning, [])
                names += [] if name in names else [name]
    return [f"{', '.join(names)}: {warning}" for warning, names in found.items()]


def check_classes(classes: Sequence[str], counts: Sequence[int], budget: str) -> list[str]:
    """Return a sentence about the classes with too few training images, if there are any.

    Args:
        classes: their names.
        counts: training images of each in the budget.
        budget: the label budget in a word.
    """
    of = "" if budget == "full" else f" in data_fraction={budget}"
    few = [(name, count) for name, count in zip(classes, counts, strict=True) if count < FEW_IMAGES]
    names = ", ".join(f"{name} ({count})" for name, count in few)
    rule = f"have fewer than {FEW_IMAGES} training images{of}; their scores are mostly chance"
    return [f"{names}: {rule}."] if few else []


def _check_op(op: Mapping[str, Any], side: int, grey: bool, mirror_p: float) -> Iterator[str]:
    kind = str(op["_target_"]).rpartition(".")[2]
    if mirror_p == 0:
        yield from _lost_orientations(kind, op)
    if kind == "random_resized_crop":
        low, high = op["scale"]
        yield from _small_crops(low, high, side)
    if grey and (kind == "random_grayscale" or op.get("saturation") or op.get("hue")):
        yield "saturation, hue and grayscale change nothing: the images are grey already."


def _lost_orientations(kind: str, op: Mapping[str, Any]) -> Iterator[str]:
    if kind in ("horizontal_flip", "vertical_flip") and op["p"] > 0:
        yield (
            "mirrors images whose left and right differ in meaning (dataset.mirror_p=0). Use a sequence without a flip."
        )
    turns_by = 90 if kind == "right_angle_rotation" else op.get("degrees", 0)
    if turns_by > MILD_ROTATION and op.get("p", 1) > 0:
        yield (
            "turns images whose left and right differ in meaning (dataset.mirror_p=0) by more than "
            f"{MILD_ROTATION} degrees. Use a sequence with mild rotations, such as xray."
        )


def _small_crops(low: float, high: float, side: int) -> Iterator[str]:
    smallest, bound = low**0.5 * side, (FEW_PIXELS / side) ** 2
    if smallest < FEW_PIXELS:
        share = (min(bound, high) - low) / (high - low) if high > low else 1.0
        yield (
            f"random crops shrink to {smallest:.0f} px a side (scale {low:g} of {side} px), {share:.0%} of them are "
            f"under {FEW_PIXELS} px. Raise the crop's scale, or use larger images."
        )
