"""The last encoder of a process, kept for the runs of one job that start from the same one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class EncoderCache:
    """Keeps the last object that was made, under the key of what it was made from.

    One cache belongs to one job and is handed to each of its runs.
    """

    def __init__(self) -> None:
        self._kept: tuple[str, Any] | None = None

    def get_or_build(self, key: str, build: Callable[[], T]) -> T:
        """Return the kept object if it has this key; else build one and keep it instead.

        Args:
            key: names everything that the object depends on.
            build: makes the object.
        """
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # before the next one is built: two encoders need twice the memory
            self._kept = (key, build())
        made: T = self._kept[1]
        return made
