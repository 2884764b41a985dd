"""A selection.csv is read as it was written; a damaged one is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simclr_med.selection_csv import SelectedImage, format_selection, read_selection

DIGEST = "0123456789abcdef" * 2
LINES = [
    SelectedImage(7, DIGEST, "typiclust", "=a.png", "50", "3", "1.5", "=benign"),
    SelectedImage(2, DIGEST[::-1], "typiclust"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "selection.csv").write_text(format_selection(LINES), encoding="utf-8")
    return tmp_path / "selection.csv"


def test_what_is_written_is_read(path: Path) -> None:
    assert read_selection(path) == [replace(one, file="") for one in LINES], "files are those of the data set"
    text = path.read_text(encoding="utf-8")
    assert "'=a.png" in text, "no spreadsheet runs it as a formula"
    assert "'=benign" in text


def test_cells_that_are_no_numbers_are_dropped(path: Path) -> None:
    head = "index,method,sha256,round,cluster,score\n"
    path.write_text(f"{head}7,a,{DIGEST},=1+1,-3,1.5e-05\n8,a,{DIGEST},50,x,nan\n", encoding="utf-8")
    assert [(one.round, one.cluster, one.score) for one in read_selection(path)] == [
        ("", "-3", "1.5e-05"),
        ("50", "", ""),
    ]


def test_a_spreadsheet_may_have_saved_it_again(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\n", "\r\n")
    path.write_bytes(f"\ufeff{text}".encode())
    assert len(read_selection(path)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column index, method, sha256"),
        ("rank,split,index\n1,train,3\n", "no column method, sha256"),
        ("index,method,sha256\n", "no images"),
        (f"index,method,sha256\n-1,a,{DIGEST}\n", "line 2: index='-1': expected a row number"),
        (f"index,method,sha256\n1,a b,{DIGEST}\n", "line 2: method='a b': expected a name"),
        ("index,method,sha256\n1,a,xyz\n", "line 2: sha256='xyz': expected 32"),
        ("index,method,sha256\n1,a", "line 2: sha256='': expected 32"),
        (f"index,method,sha256,label\n1,a,{DIGEST},{'x' * 101}\n", "line 2: label='xxx"),
        (f"index,method,sha256\n1,a,{DIGEST}\n2,b,{DIGEST}\n", "several methods"),
        (f"index,method,sha256\n1,a,{DIGEST}\n1,a,{DIGEST}\n", "1 image listed twice"),
    ],
)
def test_damaged_files_are_refused(path: Path, content: str, message: str) -> None:
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read_selection(path)


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="utf-8"):
        read_selection(path)
    with pytest.raises(OSError, match="folder"):
        read_selection(path.parent)
