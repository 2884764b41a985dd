"""The runs of one method as a table of encoders and label seeds.

Shape letters: E encoders, S label seeds, N values of a run: one for each test image, or a single score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

MIN_SEEDS = 3  # below it there is no interval over seeds, and no verdict


@dataclass(frozen=True)
class Design:
    """The values of one method under one label budget.

    Attributes:
        values_ESN: of each run; E = 1 where the encoder varies with the seed.
        encoders: identities of the encoders; empty where the encoder varies with the seed.
        seeds: of the runs.
        left_out: number of runs that are not part of the table, because it would have gaps with them.
    """

    values_ESN: np.ndarray
    encoders: tuple[str, ...]
    seeds: tuple[int, ...]
    left_out: int = 0

    @property
    def has_one_encoder(self) -> bool:
        """Whether all runs start from one encoder, so that they say nothing about other encoders of the method."""
        return len(self.encoders) == 1

    @property
    def is_identical(self) -> bool:
        """Whether there are several seeds and they change nothing."""
        return len(self.seeds) > 1 and bool((self.values_ESN == self.values_ESN[:, :1]).all())

    @property
    def distinct_runs(self) -> int:
        """Number of runs; identical ones count once."""
        return len(self.values_ESN) * (1 if self.is_identical else len(self.seeds))

    @property
    def replicates(self) -> int:
        """Number of seeds; where the seeds change nothing, of encoders."""
        return len(self.values_ESN) if self.is_identical else len(self.seeds)

    def describe(self) -> str:
        """Return the runs: ``3 encoders x 5 seeds``, ``1 encoder x 3 identical seeds``, ``3 seeds`` or ``1 run``."""
        encoders, seeds = len(self.encoders), len(self.seeds)
        text = f"{seeds}{' identical' * self.is_identical} seed{'s' * (seeds > 1)}"
        if max(encoders, seeds) == 1:
            text = "1 run"
        elif encoders:
            text = f"{encoders} encoder{'s' * (encoders > 1)} x {text}"
        return text + (f", {self.left_out} left out" if self.left_out else "")

    def select(self, seeds: Iterable[int]) -> Design:
        """Return the design with only these seeds."""
        wanted = tuple(sorted(seeds))
        columns = [self.seeds.index(seed) for seed in wanted]
        return replace(self, values_ESN=self.values_ESN[:, columns], seeds=wanted)


def find_distinct_seeds(*designs: Design) -> list[int]:
    """Return the seeds of some designs with equal seeds, without those that repeat the runs of another seed."""
    first: dict[bytes, int] = {}
    for number, seed in enumerate(designs[0].seeds):
        first.setdefault(b"".join(design.values_ESN[:, number].tobytes() for design in designs), seed)
    return list(first.values())


def arrange_runs(runs: Mapping[tuple[str, int], np.ndarray]) -> Design:
    """Return the runs as a complete table.

    Each encoder has every seed (crossed), or each seed has an encoder of its own. Where some combinations are missing,
    the table has the seeds that all encoders have, or else the encoders that have all seeds, or else the encoder with
    the most seeds.

    Args:
        runs: (encoder, seed) -> values [N].
    """
    by_encoder: dict[str, set[int]] = {}
    for encoder, seed in sorted(runs):
        by_encoder.setdefault(encoder, set()).add(seed)
    if not runs:
        return Design(np.empty((1, 0, 0)), (), ())
    seeds = sorted(set().union(*by_encoder.values()))
    if len(by_encoder) == len(runs) == len(seeds) > 1:
        own = {seed: values for (_, seed), values in runs.items()}
        return Design(np.stack([own[seed] for seed in seeds])[None], (), tuple(seeds))
    shared = sorted(set.intersection(*by_encoder.values()))
    complete = [encoder for encoder, own_seeds in by_encoder.items() if len(own_seeds) == len(seeds)]
    if shared:
        encoders, seeds = list(by_encoder), shared
    elif complete:
        encoders = complete
    else:
        encoders = [max(by_encoder, key=lambda encoder: len(by_encoder[encoder]))]
        seeds = sorted(by_encoder[encoders[0]])
    table = np.stack([[runs[encoder, seed] for seed in seeds] for encoder in encoders])
    return Design(table, tuple(encoders), tuple(seeds), len(runs) - len(encoders) * len(seeds))
