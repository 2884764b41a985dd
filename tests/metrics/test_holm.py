"""Holm's corrected p-values, and the levels of the intervals that agree with them."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_med.metrics.holm import adjust_holm, find_holm_levels


def test_holm_equals_r() -> None:
    """The values are those of p.adjust in R."""
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert len(adjust_holm([])) == 0


def test_levels_of_a_known_family() -> None:
    """The smallest p is tested at 0.05 / 4 and rejected; the next at 0.05 / 3 is not, and all others keep its level."""
    assert find_holm_levels([0.01, 0.04, 0.03, 0.02], 0.05) == pytest.approx([1 - 0.05 / 4] + 3 * [1 - 0.05 / 3])
    assert find_holm_levels([0.001, 0.002], 0.05) == pytest.approx([1 - 0.05 / 2, 1 - 0.05])
    assert len(find_holm_levels([], 0.05)) == 0


def test_levels_agree_with_the_corrected_p_values() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        p = generator.random(7) ** 4
        assert ((p <= 1 - find_holm_levels(p, 0.05)) == (adjust_holm(p) <= 0.05)).all()
