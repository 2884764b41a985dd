"""The parts of a cell that a narrow screen shows below each other."""

from __future__ import annotations

import pytest

from simclr_med.report.cells import NONE
from simclr_med.report.html import _split_number


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.812 [0.790, 0.832] (3 encoders x 5 seeds)", ["0.812", "[0.790, 0.832]", "(3 encoders x 5 seeds)"]),
        ("0.81, 0.82 (2 seeds)", ["0.81, 0.82", "(2 seeds)"]),
        ("-1.6 to +5.5", ["-1.6 to +5.5"]),
        (NONE, [NONE]),
    ],
)
def test_parts(text: str, parts: list[str]) -> None:
    assert _split_number(text) == parts
