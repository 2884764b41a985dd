"""Random numbers of corruptions: those of an image depend only on the key and on the image's row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch of B images; those of an image are the same in every batch.

    Attributes:
        key: integers >= 0 that name the seed, the corruption and the severity.
        rows: row of each image in its split.
    """

    key: tuple[int, ...]
    rows: Sequence[int]

    def generators(self) -> Iterator[np.random.Generator]:
        """Yield a new generator for each image."""
        for row in self.rows:
            yield np.random.default_rng([*self.key, row])

    def normal(self, *shape: int) -> Tensor:
        """Draw from N(0, 1), float32 [B, *shape] on the CPU."""
        return self._stack([one.standard_normal(shape, np.float32) for one in self.generators()])

    def uniform(self, *shape: int) -> Tensor:
        """Draw from U[0, 1), float32 [B, *shape] on the CPU."""
        return self._stack([one.random(shape, np.float32) for one in self.generators()])

    @staticmethod
    def _stack(values: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(values))
