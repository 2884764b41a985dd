"""What a typed field says of its value besides the type; `validate` checks it and words it."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from omegaconf import MISSING


def bounded(low: float | None = None, high: float | None = None, open_low: float | None = None, **more: Any) -> Any:
    """A required field whose value lies in [low, high], or above open_low."""
    return field(default=MISSING, metadata={"low": low, "high": high, "open_low": open_low, **more})


def one_of(*choices: Any) -> Any:
    """A required field whose value is one of the choices."""
    return field(default=MISSING, metadata={"choices": choices})
