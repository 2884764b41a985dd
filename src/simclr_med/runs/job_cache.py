"""What the runs of one job share: the last encoder, and the last fit of a probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class JobCache:
    """Keeps the last object of each kind, under the key of everything that it was built from.

    One cache belongs to one job and is handed to each of its runs.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Any]] = {}

    def get_or_build(self, kind: str, key: str, build: Callable[[], T]) -> T:
        """Return the kept object of this kind if it has this key; else build one and keep it instead.

        Args:
            kind: of the object, for example "encoder".
            key: names everything that the object depends on.
            build: makes the object.
        """
        if kind not in self._kept or self._kept[kind][0] != key:
            self._kept.pop(kind, None)  # before the next one is built, since two encoders need twice the memory
            self._kept[kind] = (key, build())
        kept: T = self._kept[kind][1]
        return kept
