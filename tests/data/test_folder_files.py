"""Files of a folder that are left out, and what a CSV says about the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from folder_sources import NO_CSV, build_folder
from PIL import Image

from simclr_med.data import folder_files
from simclr_med.errors import DataError


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes grey PNGs under relative names."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
        return tmp_path / "images"

    return write


WHOLE = {"val_fraction": 0.0, "test_fraction": 0.0}


def one_line(read: Callable[[], object]) -> str:
    with pytest.raises(DataError) as error:
        read()
    (line,) = error.value.problems
    assert "\n" not in line
    return line


def test_other_files_are_counted_by_kind(write_images) -> None:
    root = write_images("a.png", "b.png")
    for name in ("x.docx", "y.DOCX", "README", "Thumbs.db", ".hidden"):
        (root / name).write_bytes(b"text")
    assert build_folder(root).remarks().facts == ("3 files left out: 2 .docx, 1 without ending.",)
    (root / "x.docx").unlink()
    (root / "y.DOCX").unlink()
    assert build_folder(root).remarks().facts == ("1 file left out: 1 without ending.",)


def test_broken_files_are_refused_or_left_out(write_images) -> None:
    root = write_images("a.png", "b.png", "c.png", "d.png")
    (root / "b.png").write_bytes((root / "b.png").read_bytes()[:40])
    tifffile.imwrite(root / "e.tif", np.zeros((2, 8, 8), np.uint8), photometric="minisblack")
    line = one_line(lambda: build_folder(root, **WHOLE).split("train"))
    assert "b.png: not a readable image" in line
    assert "Replace or remove the file. dataset.broken=skip leaves such files out." in line
    mine = build_folder(root, broken="skip", **WHOLE)
    assert mine.split("train").names == ("a.png", "c.png", "d.png")
    assert mine.remarks().facts == ("2 files left out: 1 unreadable .png, 1 unsupported .tif.",)
    (root / "b.png").unlink()
    (root / "e.tif").unlink()
    assert build_folder(root, **WHOLE).content_hash() == mine.content_hash()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="requires links")
def test_links_that_lead_nowhere(write_images) -> None:
    root = write_images("a/a.png", "b/b.png")
    os.symlink("self.png", root / "a" / "self.png")
    os.symlink(root / "none.png", root / "a" / "none.png")
    os.symlink(root / "a", root / "a" / "loop")
    assert "none.png: file not found. Check the path. dataset.broken=skip" in one_line(build_folder(root).content_hash)
    mine = build_folder(root, broken="skip", **WHOLE)
    assert mine.names("train") == ("a/a.png", "b/b.png")
    assert mine.remarks().facts == ("2 files left out: 2 unreadable .png.",)


def test_nothing_but_broken_files_is_one_line(write_images) -> None:
    root = write_images("a.png")
    (root / "a.png").write_bytes(b"text")
    assert "no file has an image that can be read" in one_line(lambda: build_folder(root, broken="skip").names("train"))


def test_intact_files_are_checked_once(write_images, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_images("a.png", "b.png")
    expected = build_folder(root, broken="skip", **WHOLE).names("train")
    monkeypatch.setattr(folder_files, "check_images", lambda *_: pytest.fail("checked again"))
    assert build_folder(root, broken="skip", **WHOLE).names("train") == expected


def name_csv(path: Path, content: str, **columns: str) -> dict[str, str | None]:
    """Write a CSV and return the key dataset.csv that names it."""
    path.write_text(content, encoding="utf-8")
    return NO_CSV | {"path": str(path)} | columns


TABLE = "Bild,Pat,Befund,Satz\na.png,1,10,train\nx/b.png,2,9,Validation\nc.png,1,9,train\nd.png,3,10,test\n"
COLUMNS = {"file": "Bild", "patient": "Pat", "label": "Befund", "split": "Satz"}


def test_named_columns_give_labels_splits_and_patients(write_images, tmp_path: Path) -> None:
    root = write_images("a.png", "x/b.png", "c.png", "d.png")
    mine = build_folder(root, csv=name_csv(root / "table.csv", TABLE, **COLUMNS))
    assert {split: mine.names(split) for split in mine.available_splits()} == {
        "train": ("a.png", "c.png"),
        "val": ("x/b.png",),
        "test": ("d.png",),
    }
    assert mine.classes == ("9", "10")  # as numbers
    assert [np.ravel(mine.labels(split)).tolist() for split in ("train", "val", "test")] == [[1, 0], [0], [1]]
    assert mine.remarks().facts == ()  # the CSV itself is no file that is left out


def test_content_hash_depends_on_the_csv_and_its_columns(write_images, tmp_path: Path) -> None:
    root = write_images("a.png", "x/b.png", "c.png", "d.png")
    hashes = [build_folder(root, class_folders=False).content_hash()]
    csv = name_csv(tmp_path / "t.csv", TABLE, **COLUMNS)
    hashes += [build_folder(root, csv=csv | more).content_hash() for more in ({}, {"label": "Pat"}, {"split": None})]
    csv = name_csv(tmp_path / "t.csv", TABLE.replace("3", "4"), **COLUMNS)
    hashes.append(build_folder(root, csv=csv).content_hash())
    assert len(set(hashes)) == 5


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("Befund", "Diagnose"), "expected the columns Bild and Pat and Befund and Satz"),
        (("c.png,1,9", "c.png,1,"), "no label for c.png"),
        (("test", "later"), "dataset.csv.split=Satz: expected train, val or test, found later for d.png"),
        (("d.png,3", "d.png,1"), "the patient 1 is in train and test"),
        (("9", "10"), "dataset.csv.label=Befund: expected at least two classes, found only 10"),
        (("d.png,3,10,test", "d.png,3,11,test"), "the class 11 is not in train/"),
    ],
)
def test_mistakes_of_the_csv_are_one_line(write_images, tmp_path: Path, change, rule) -> None:
    root = write_images("a.png", "x/b.png", "c.png", "d.png")
    csv = name_csv(tmp_path / "t.csv", TABLE.replace(*change), **COLUMNS)
    line = one_line(lambda: [build_folder(root, csv=csv).labels(split) for split in ("train", "val", "test")])
    assert rule in line
    assert line.startswith("dataset.csv") or "the class 11" in line
