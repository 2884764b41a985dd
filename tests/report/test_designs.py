"""Runs as tables of encoders and seeds, and the words for them."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.report.designs import Design, arrange_runs, find_distinct_seeds

GENERATOR = np.random.default_rng(0)


def arrange(*keys: tuple[str, int]) -> Design:
    return arrange_runs({key: GENERATOR.random(4) for key in keys})


@pytest.mark.parametrize(
    ("keys", "shape", "words"),
    [
        ([("a", 0)], (1, 1), "1 run"),
        ([("a", 0), ("a", 1)], (1, 2), "1 encoder x 2 seeds"),
        ([("a", 0), ("b", 0), ("c", 0)], (3, 1), "3 encoders x 1 seed"),
        ([("a", 0), ("b", 1), ("c", 2)], (1, 3), "3 seeds"),
        ([(e, s) for e in "abc" for s in range(5)], (3, 5), "3 encoders x 5 seeds"),
        ([("a", 0), ("a", 1), ("b", 0)], (2, 1), "2 encoders x 1 seed, 1 left out"),
        ([("a", 0), ("a", 1), ("b", 0), ("c", 1)], (1, 2), "1 encoder x 2 seeds, 2 left out"),
        ([("a", 0), ("a", 1), ("b", 2)], (1, 2), "1 encoder x 2 seeds, 1 left out"),
    ],
)
def test_shapes_and_words(keys: list[tuple[str, int]], shape: tuple[int, int], words: str) -> None:
    design = arrange(*keys)
    assert design.values_ESN.shape == (*shape, 4)
    assert design.describe() == words


def test_a_table_holds_each_run_at_its_place() -> None:
    runs = {(encoder, seed): GENERATOR.random(3) for seed in (2, 0, 1) for encoder in "ba"}
    design = arrange_runs(runs)
    assert (design.encoders, design.seeds) == (("a", "b"), (0, 1, 2))
    for (encoder, seed), values in runs.items():
        assert (design.values_ESN["ab".index(encoder), seed] == values).all()
    assert (design.select([2, 0]).values_ESN == design.values_ESN[:, [0, 2]]).all()


def test_identical_seeds_count_once() -> None:
    one, other = GENERATOR.random((2, 2, 1, 4))
    same = Design(one.repeat(3, axis=1), ("a", "b"), (0, 1, 2))
    assert same.is_identical
    assert same.describe() == "2 encoders x 3 identical seeds"
    assert (same.distinct_runs, same.replicates) == (2, 2)
    assert find_distinct_seeds(same) == [0]
    mixed = Design(np.concatenate([one, other, one], axis=1), ("a", "b"), (0, 1, 2))
    assert not mixed.is_identical
    assert find_distinct_seeds(mixed, same) == [0, 1]
