"""What a stage prints at its end can be read and copied as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.stages.summary import print_line, print_summary


def test_the_summary_prints_names_as_they_are_and_paths_whole(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("/") / "/".join(40 * ["long"])
    print_summary("Pretrained on [red]:cat:", {"loss [/x]": "1.234"}, folder, [folder / "a.png", folder / "b.png"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Pretrained on [red]:cat:"
    assert any("loss [/x]" in line and "1.234" in line for line in lines)
    assert lines[-3:] == [f"Run:      {folder}", f"Picture:  {folder / 'a.png'}", f"Picture:  {folder / 'b.png'}"]


def test_a_run_of_several_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"test accuracy": "0.250  [0.200, 0.300]", "test AUROC": "0.600", "test macro F1": "0.1"}
    print_line(Path("runs/probe/cells/n50-random-s0-0123456789"), rows, 1.26)
    line = "n50-random-s0-0123456789: test accuracy 0.250, test AUROC 0.600; 1.3 s\n"
    assert capsys.readouterr().out == line
