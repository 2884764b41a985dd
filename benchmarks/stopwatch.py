"""A stopwatch for nested parts; the time of a part excludes the parts inside it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch


def create_clock(device: torch.device) -> Callable[[], float]:
    """Return a clock in seconds that waits for the device before each reading."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


class Stopwatch:
    """Measures the exclusive times of nested parts; time outside all parts belongs to ``rest``.

    Args:
        now: returns the time in seconds.
        rest: name of the remaining time.
        sealed: parts that include the time of the parts inside them.
    """

    def __init__(self, now: Callable[[], float], rest: str, sealed: frozenset[str] = frozenset()) -> None:
        self._now, self._sealed = now, sealed
        self._parts = [rest]
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._at = now()

    def start(self, part: str) -> None:
        """Start a part."""
        self._charge()
        inside = self._parts[-1]
        self._parts.append(inside if inside in self._sealed else part)

    def stop(self) -> None:
        """End the innermost part."""
        self._charge()
        self._parts.pop()

    def lap(self) -> dict[str, float]:
        """Return the seconds of each part since the last lap; their sum is the elapsed time."""
        self._charge()
        spent, self._spent = self._spent, defaultdict(float)
        return dict(spent)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        self.start(part)
        try:
            yield
        finally:
            self.stop()

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time measured as part."""

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.timed(part):
                return function(*arguments, **named)

        return timed

    def _charge(self) -> None:
        now = self._now()
        self._spent[self._parts[-1]] += now - self._at
        self._at = now
