"""Text that begins as a formula is escaped; all other text is unchanged."""

from __future__ import annotations

import pytest

from simclr_med.csv_cells import escape_cell


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_escaped(text: str) -> None:
    assert escape_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a", "a=b", "'=1", "1-2", " =1", "é"])
def test_other_text_is_unchanged(text: str) -> None:
    assert escape_cell(text) == text
