"""The CSV with further columns about the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.data.metadata import read_metadata, read_rows
from simclr_med.errors import DataError
from simclr_med.types import Split

COUNTS: dict[Split, int] = {"train": 3, "test": 2}
NO_NAMES: dict[Split, None] = {"train": None, "test": None}


def write(tmp_path: Path, text: str) -> Path:
    """Write the CSV."""
    path = tmp_path / "meta.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_splits(tmp_path: Path) -> None:
    path = write(tmp_path, "split,row,scanner,age\ntest,1,A,40\ntrain,0, B ,\n")
    found = read_metadata(path, COUNTS, NO_NAMES)
    assert found["test"] == {"scanner": ["", "A"], "age": ["", "40"]}
    assert found["train"] == {"scanner": ["B", "", ""], "age": ["", "", ""]}


def test_rows_may_be_named_index(tmp_path: Path) -> None:
    found = read_metadata(write(tmp_path, "split,index,scanner\ntest,1,A\n"), COUNTS, NO_NAMES)
    assert found["test"] == {"scanner": ["", "A"]}


def test_files_by_path_or_by_name_alone(tmp_path: Path) -> None:
    names: dict[Split, tuple[str, ...]] = {
        "train": ("train/a/1.png", "train/a/2.png", "train/b/1.png"),
        "test": ("t/3.png", "t/4.png"),
    }
    path = write(tmp_path, "file,scanner\n./train/b/1.png,A\n3.png,B\ntrain\\a\\2.png,C\n")
    found = read_metadata(path, COUNTS, names)
    assert found == {"train": {"scanner": ["", "C", "A"]}, "test": {"scanner": ["B", ""]}}
    with pytest.raises(DataError, match=r"line 2 \(1.png\) names no image"):  # two images have this name
        read_metadata(write(tmp_path, "file,scanner\n1.png,A\n"), COUNTS, names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no rows"),
        ("split,row\n", "found split | row"),
        ("split,scanner\ntest,A\n", "expected the column file, or split and row"),
        ("split,row,a\ntest,2,x\n", "line 2 (test 2) names no image"),
        ("split,row,a\ntset,0,x\n", "line 2 (tset 0) names no image"),
        ("split,row,a\ntest,0,x\ntest,0,y\n", "line 3 (test 0) names an image twice"),
        ("split,row,a\ntest\n", "line 2 (test ) names no image"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_metadata(write(tmp_path, text), COUNTS, NO_NAMES)
    assert str(caught.value).startswith("dataset.metadata_csv=")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_bytes(b"\xff\xfe\x00split,row,a")
    for path, reason in (
        (tmp_path / "none.csv", "No such file"),
        (tmp_path, "folder"),
        (tmp_path / "meta.csv", "UTF-8"),
    ):
        with pytest.raises(DataError, match=reason):
            read_rows(path)
