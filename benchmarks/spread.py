"""Repeated measurements in one figure: the median, and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> dict[str, float]:
    """Their least, median and greatest; one value is all three."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def told(values: dict[str, float], digits: int) -> str:
    """median (min-max), with so many digits behind the point; the median alone where all are the same."""
    text = f"{values['median']:.{digits}f}"
    if values["min"] == values["max"]:
        return text
    return f"{text} ({values['min']:.{digits}f}-{values['max']:.{digits}f})"
