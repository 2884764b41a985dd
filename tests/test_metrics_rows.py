"""Complete rows are read; what a kill, a disk or somebody else damaged is skipped or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simclr_med.metrics_csv import read_rows


@pytest.mark.parametrize(
    "damage",
    ["1,2\n", "1,2,3,4\n", "x,2,3\n", ",,\n", '1,"' + "x" * 200_000 + '",3\n', "1,2,3", "\0\n", "\ud800\n"],
    ids=["short", "long", "no epoch", "empty", "wide", "cut", "zeros", "no text"],
)
def test_damaged_rows_are_skipped(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(("epoch,step,loss\n0,1,0.5\n" + damage).encode("utf-8", "surrogatepass"))
    assert read_rows(path) == [{"epoch": "0", "step": "1", "loss": "0.5"}]


def test_a_missing_file_has_no_rows_and_a_pipe_is_refused(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "metrics.csv") == []
    os.mkfifo(tmp_path / "metrics.csv")
    with pytest.raises(OSError, match="not a regular file"):
        read_rows(tmp_path / "metrics.csv")


def test_many_columns_do_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("," * 100_000 + "\n" + ",\n" * 50_000)
    assert read_rows(path) == []
