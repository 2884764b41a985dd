"""What a long reading shows of its progress, on a terminal and in a log."""

from __future__ import annotations

import pytest

from simclr_med.data import progress
from simclr_med.data.progress import show_progress


@pytest.mark.parametrize(("total", "shown"), [(None, " 3,000 "), (12_000, " 3,000/12,000 ")])
def test_bar_shows_counts(
    total: int | None, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
    monkeypatch.setenv("COLUMNS", "80")
    with show_progress("Reading cells", "images") as update:
        update(3_000, total)
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize(("total", "shown"), [(None, "3,000 images so far"), (12_000, "3,000 of 12,000 images")])
def test_lines_of_a_log_say_of_how_many(
    total: int | None, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    with show_progress("Reading cells", "images") as update:
        update(3_000, total)
    assert capsys.readouterr().err == f"Reading cells: {shown}\n"
