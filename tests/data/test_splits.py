"""Seeded splits by class and group."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.data.splits import split_by_group


def split(labels, groups, fractions=(0.2, 0.1), seed=0) -> tuple[tuple[int, ...], ...]:
    return split_by_group(labels, groups, fractions, seed)


def test_every_item_is_in_one_part() -> None:
    parts = split([None] * 100, [str(i) for i in range(100)])
    assert [len(part) for part in parts] == [20, 10, 70]
    assert sorted(sum(parts, ())) == list(range(100))


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_split_to_the_nearest_item(seed) -> None:
    labels = ["a"] * 33 + ["b"] * 8 + ["c"] * 1
    test, val, train = split(labels, [str(i) for i in range(42)], seed=seed)
    for label, expected in (("a", (7, 3, 23)), ("b", (2, 1, 5)), ("c", (0, 0, 1))):
        assert tuple(sum(labels[i] == label for i in part) for part in (test, val, train)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_fractions_are_close(seed) -> None:
    rng = np.random.default_rng(seed)
    groups = [str(g) for g in rng.integers(0, 80, 600)]
    labels = [str(x) for x in rng.integers(0, 3, 600)]
    parts = split(labels, groups, seed=seed)
    members = [{groups[i] for i in part} for part in parts]
    assert sum(map(len, members)) == len(set().union(*members))
    assert np.abs(np.array([len(part) for part in parts]) / 600 - (0.2, 0.1, 0.7)).max() < 0.05


def test_split_depends_on_the_seed_and_not_on_the_order() -> None:
    groups = [str(i) for i in range(50)]
    assert split([None] * 50, groups) == split([None] * 50, groups)
    assert split([None] * 50, groups) != split([None] * 50, groups, seed=1)
    backwards = split([None] * 50, groups[::-1])
    assert [sorted(49 - i for i in part) for part in backwards] == [list(part) for part in split([None] * 50, groups)]
