"""Summary of repeated measurements: minimum, median and maximum."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return minimum, median and maximum of the values."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def format_spread(values: dict[str, float], digits: int) -> str:
    """Return ``median (min-max)`` with this number of decimals; only the median if all values are equal."""
    text = f"{values['median']:.{digits}f}"
    if values["min"] == values["max"]:
        return text
    return f"{text} ({values['min']:.{digits}f}-{values['max']:.{digits}f})"
