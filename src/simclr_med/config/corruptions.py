"""The rules of the corruptions of stage=test."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simclr_med.config.stage_nodes import Test

SEVERITIES = 5
GENERAL = "general"
# How many values each corruption takes at one severity, with their bounds (low, high), both inclusive.
VALUES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "gaussian_noise": ((0, 10),),
    "shot_noise": ((1e-3, 1e9),),
    "impulse_noise": ((0, 1),),
    "speckle_noise": ((0, 10),),
    "gaussian_blur": ((1e-3, 224),),
    "defocus_blur": ((0, 100),),
    "motion_blur": ((0, 224), (1e-3, 1e6)),
    "zoom_blur": ((1, 10), (1e-3, 10)),
    "brightness_up": ((0, 100),),
    "brightness_down": ((0, 100),),
    "contrast_up": ((0, 100),),
    "contrast_down": ((0, 100),),
    "gamma_corr_up": ((0, 100),),
    "gamma_corr_down": ((0, 100),),
    "saturate": ((-1, 1),),
    "bias_field": ((0, 10),),
    "pixelate": ((1e-3, 1),),
    "jpeg_compression": ((1, 95),),
    "stain_deposit": ((1, 100),),
    "bubble": ((3, 224), (7, 500)),
    "black_corner": ((0, 10),),
}


def find_family(stage: Test, dataset: str) -> str:
    """Return the name of the family of corruptions for a data set."""
    return stage.family if stage.family is not None else str(stage.family_of.get(dataset, GENERAL))


def list_strengths(family: Mapping[str, Sequence[Any]]) -> list[tuple[str, int, tuple[float, ...]]]:
    """Return each corruption with each severity, from 1, and its values."""
    return [
        (name, severity, tuple(values) if isinstance(values, Sequence) else (values,))
        for name, strengths in family.items()
        for severity, values in enumerate(strengths, 1)
    ]


def broken_families(stage: Test, dataset: str) -> Iterator[str]:
    """Yield a sentence for each broken rule."""
    for family, corruptions in stage.families.items():
        key = f"stage.families.{family}"
        if not isinstance(corruptions, Mapping) or not corruptions:
            yield (
                f"{key}={corruptions}: expected corruptions with their values. Write it as in "
                "conf/stage/base/corruptions.yaml."
            )
            continue
        for name, strengths in corruptions.items():
            yield from _broken_strengths(f"{key}.{name}", str(name), strengths)
    chosen = find_family(stage, dataset)
    if chosen not in stage.families:
        yield f"stage.family={chosen}: unknown family. Choose one of {', '.join(stage.families)}."


def _broken_strengths(key: str, name: str, strengths: Any) -> Iterator[str]:
    if name not in VALUES:
        similar = difflib.get_close_matches(name, VALUES, n=1)
        yield f"{key}: unknown corruption. {f'Did you mean {similar[0]}?' if similar else f'Remove {key}.'}"
        return
    if not isinstance(strengths, list) or len(strengths) != SEVERITIES:
        yield f"{key}={strengths}: expected a list with values of {SEVERITIES} severities. Give all of them."
        return
    bounds = VALUES[name]
    for strength in strengths:
        values = strength if isinstance(strength, list) else [strength]
        if len(values) != len(bounds) or not all(map(_is_within, values, bounds)):
            limits = " and ".join(f"a number from {low:g} to {high:g}" for low, high in bounds)
            yield f"{key}={strengths}: expected {limits} for each severity. Correct it."
            return


def _is_within(value: Any, bounds: tuple[float, float]) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return is_number and bounds[0] <= value <= bounds[1]
