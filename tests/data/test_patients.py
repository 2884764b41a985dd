"""Patients of a data set without file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simclr_med.data.npz import Npz
from simclr_med.errors import DataError

PATIENTS = {"train": 12, "test": 6}
ROWS = "".join(f"{split},{row},{split}{row // 2}\n" for split, count in PATIENTS.items() for row in range(count))


def build(tmp_path: Path, make_arrays, text: str) -> Npz:
    np.savez(tmp_path / "mine.npz", **make_arrays())
    (tmp_path / "who.csv").write_text(text, encoding="utf-8")
    return Npz("mine", str(tmp_path / "mine.npz"), None, None, str(tmp_path / "who.csv"))


def test_patients_are_counted(tmp_path: Path, make_arrays) -> None:
    mine = build(tmp_path, make_arrays, "split,row,patient\n" + ROWS)
    assert mine.remarks().facts == ("9 patients, each in one split. 6 images have no patient in the CSV.",)
    assert Npz("mine", str(tmp_path / "mine.npz"), None, None, None).content_hash() != mine.content_hash()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("split,row,patient\n" + ROWS + "val,0,train0\n", "the patient train0 is in train and val. Move"),
        ("split,row,patient\ntrain,12,a\n", "train has no row 12"),
        ("split,row,who\ntrain,0,a\n", "expected the columns split and index"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, make_arrays, text: str, rule: str) -> None:
    with pytest.raises(DataError, match=rule) as error:
        build(tmp_path, make_arrays, text).remarks()
    (line,) = error.value.problems
    assert line.startswith("dataset.groups_csv=")
