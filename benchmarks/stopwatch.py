"""Where the time goes: nested parts, each charged only with what no part inside it takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds, read when the device has done all it was given."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


class Stopwatch:
    """Exclusive times of nested parts; what happens outside of all of them goes to ``rest``.

    Args:
        now: the time in seconds.
        rest: name of the remainder.
        sealed: parts whose inner parts count as theirs.
    """

    def __init__(self, now: Callable[[], float], rest: str, sealed: frozenset[str] = frozenset()) -> None:
        self._now, self._sealed = now, sealed
        self._parts = [rest]
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._at = now()

    def start(self, part: str) -> None:
        """The time from now on is this part's."""
        self._charge()
        inside = self._parts[-1]
        self._parts.append(inside if inside in self._sealed else part)

    def stop(self) -> None:
        """The time from now on is that of the part around."""
        self._charge()
        self._parts.pop()

    def lap(self) -> dict[str, float]:
        """Seconds of each part since the last lap; they add up to the time that has passed."""
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

    def timing(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time charged to part."""

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.timed(part):
                return function(*arguments, **named)

        return timed

    def _charge(self) -> None:
        now = self._now()
        self._spent[self._parts[-1]] += now - self._at
        self._at = now
