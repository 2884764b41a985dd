"""Which images are shown and measured is a function of the seed, and covers the classes."""

from __future__ import annotations

import numpy as np

from simclr_med.stages.sampling import groups, named, points, shown


def test_points_are_all_or_a_seeded_choice() -> None:
    assert points(5, 10, 0).tolist() == [0, 1, 2, 3, 4]
    one, again, other = points(100, 10, 0), points(100, 10, 0), points(100, 10, 1)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert len(set(one.tolist())) == 10
    assert (np.diff(one) > 0).all()


def test_each_class_in_turn_as_long_as_it_has_images() -> None:
    codes = np.array([0] * 50 + [1] * 2 + [2])
    rows = shown(codes, len(codes), 8, seed=0)
    assert codes[rows].tolist() == [0, 1, 2, 0, 1, 0, 0, 0]
    assert len(set(rows.tolist())) == 8
    assert sorted(shown(codes, len(codes), 99, seed=0)) == list(range(53))
    assert len(shown(None, 53, 8, seed=0)) == 8
    assert not np.array_equal(shown(codes, 53, 8, seed=0), shown(codes, 53, 8, seed=1))


def test_groups_of_one_label_of_several_and_of_none() -> None:
    assert groups(None, ()).codes_N is None
    single = groups(np.array([[2], [0]]), ("a", "b", "c"))
    assert (single.codes_N.tolist(), single.names) == ([2, 0], ("a", "b", "c"))
    several = groups(np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [1, 0, 0]]), ("a", "b", "c"))
    assert several.names == ("a", "b", "c", "none of them", "several of them")
    assert [several.names[code] for code in several.codes_N] == ["b", "none of them", "several of them", "a"]


def test_labels_in_words() -> None:
    classes = ("a", "b", "c")
    assert named(None, ()) == ""
    assert named(np.array([2]), classes) == "c"
    assert [named(np.array(row), classes) for row in ([1, 0, 1], [0, 0, 0])] == ["a, c", "none of them"]
