"""What the methods of stage=select share: the images to choose from, and the order that a method returns.

Shape letters: N images, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from simclr_med.streams import Stream


@dataclass(frozen=True)
class Candidates:
    """The images to choose from.

    Attributes:
        features: returns their features, float32 [N, D] of length 1; called by the methods that need them.
        twins_N: int64; twins have the same number, and at most one of them is chosen.
    """

    features: Callable[[], np.ndarray]
    twins_N: np.ndarray


@dataclass
class Order:
    """The images in the order in which they were chosen.

    Attributes:
        rows, rounds, clusters, scores: of each chosen image; what the method does not have is None.
        facts: what the method measured, for the summary.
    """

    rows: list[int] = field(default_factory=list)
    rounds: list[int | None] = field(default_factory=list)
    clusters: list[int | None] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    def add(
        self, row: int, in_round: int | None = None, cluster: int | None = None, score: float | None = None
    ) -> None:
        """Choose the next image."""
        self.rows.append(row)
        self.rounds.append(in_round)
        self.clusters.append(cluster)
        self.scores.append(score)


class Available:
    """Which images can still be chosen: neither they nor a twin of theirs are chosen.

    Args:
        twins_N: of `Candidates`.
    """

    def __init__(self, twins_N: np.ndarray) -> None:
        self._twins_N = twins_N
        self.mask_N = np.ones(len(twins_N), bool)

    def remove(self, row: int) -> None:
        """Remove an image and its twins."""
        self.mask_N &= self._twins_N != self._twins_N[row]


def random_order(candidates: Candidates, rounds: Sequence[int], seed: int) -> Order:
    """Choose at random. Without twins, the order is that of ``data_fraction.strategy=random`` with the same seed.

    Args:
        candidates: the images.
        rounds: sizes of the selection; the last one is the number of images chosen.
        seed: of the order.
    """
    order, available = Order(), Available(candidates.twins_N)
    for row in np.random.default_rng([seed, Stream.SUBSET_ORDER]).permutation(len(candidates.twins_N)).tolist():
        if len(order.rows) == rounds[-1]:
            break
        if available.mask_N[row]:
            order.add(row)
            available.remove(row)
    return order
