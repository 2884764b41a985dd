"""What a typed field says of its value besides the type, and its wording."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import Field, field
from typing import Any

from omegaconf import MISSING, ListConfig

LARGEST_INTEGER = 2**31 - 1  # the libraries count epochs, images and dimensions with 32 bits
LARGEST_SEED = 2**63 - 1  # of torch.Generator
# Networks compute with 32 bits: beyond 1.2e-38..3.4e38 a number becomes 0 or infinite.
SMALLEST_SIZE, LARGEST_SIZE = 1e-30, 1e30


def bounded(low: float | None = None, high: float | None = None, open_low: float | None = None, **more: Any) -> Any:
    """A required field whose value lies in [low, high], or above open_low.

    An integer without ``high`` is at most `LARGEST_INTEGER`.
    """
    return field(default=MISSING, metadata={"low": low, "high": high, "open_low": open_low, **more})


def seed() -> Any:
    """A required field whose value is the seed of a generator."""
    return bounded(0, LARGEST_SEED)


def seeds() -> Any:
    """A required field whose value is a list of seeds."""
    return seed()


def one_of(*choices: Any) -> Any:
    """A required field whose value is one of the choices."""
    return field(default=MISSING, metadata={"choices": choices})


def expected_value(value: Any, item: Field[Any]) -> str | None:
    """Return what a field expects, in words, if its value is something else; None if the value is valid.

    Args:
        value: of the field, as OmegaConf holds it.
        item: the field, with its type and bounds.
    """
    if value is None:
        return None
    if isinstance(value, str) and not value:
        return "a value, not an empty text"
    if isinstance(value, ListConfig):
        return _expected_items(value, item)
    choices = item.metadata.get("choices")
    if choices is not None and value not in choices:
        return f"one of {', '.join(map(_quoted, choices))}"
    if not isinstance(value, (int, float)):
        return None
    return _expected_number(value) or _expected_range(value, **_bounds_of(item))


def _bounds_of(item: Field[Any]) -> dict[str, Any]:
    return {key: item.metadata.get(key) for key in ("low", "high", "open_low")}


def _expected_items(values: Iterable[Any], item: Field[Any]) -> str | None:
    """Return what the items of a list are, in words, when one of them is something else."""
    items, kind = list(values), str(item.type)
    if "list[float]" in kind:
        is_right = all(isinstance(value, (int, float)) and _expected_number(value) is None for value in items)
        return None if is_right else "a list of finite numbers"
    if "list[int]" in kind:
        limits = _bounds_of(item)
        is_right = all(isinstance(value, int) and _is_within(value, **limits) for value in items)
        return None if is_right else f"a list of integers {_describe_limits(**limits)}"
    if "list[str]" in kind:
        return None if all(isinstance(value, str) and value for value in items) else "a list of names"
    return None


def _expected_number(value: float) -> str | None:
    if value != value or value in (float("inf"), float("-inf")):
        return "a finite number"
    if isinstance(value, float) and value and not SMALLEST_SIZE <= abs(value) <= LARGEST_SIZE:
        return f"0 or an absolute value from {SMALLEST_SIZE:g} to {LARGEST_SIZE:g}"
    return None


def _expected_range(value: float, low: float | None, high: float | None, open_low: float | None) -> str | None:
    if high is None and isinstance(value, int):
        high = LARGEST_INTEGER if value > LARGEST_INTEGER else None  # said only where it is broken
    if _is_within(value, low, high, open_low):
        return None
    kind = "an integer" if isinstance(value, int) else "a number"
    return f"{kind} {_describe_limits(low, high, open_low)}"


def _is_within(value: float, low: float | None, high: float | None, open_low: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high) and (open_low is None or value > open_low)


def _describe_limits(low: float | None, high: float | None, open_low: float | None) -> str:
    limits = {">=": low, ">": open_low, "<=": high}
    return " and ".join(f"{sign} {limit}" for sign, limit in limits.items() if limit is not None)


def _quoted(choice: object) -> str:
    return f'"{choice}"' if "," in str(choice) else str(choice)


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)
