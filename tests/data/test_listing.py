"""Folders that people really have: what is passed over, and what is told in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simclr_med.data.folder import Folder
from simclr_med.errors import DataError


def source(path: Path, **options) -> Folder:
    defaults = {"size": 8, "channels": 3, "split_seed": 0, "val_fraction": 0.25, "test_fraction": 0.25}
    defaults |= {"groups_csv": None, "intensity": "full", "class_folders": None}
    return Folder("mine", str(path), **(defaults | options))


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    def write(*places: str) -> Path:
        for place in places:
            path = tmp_path / "images" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
        return tmp_path / "images"

    return write


def classes(*names: str) -> list[str]:
    return [f"{name}/{number}.png" for name in names for number in range(4)]


def told(mine: Folder, split: str = "train") -> str:
    with pytest.raises(DataError) as error:
        mine.split(split)
    (line,) = error.value.problems
    assert "\n" not in line
    return line


def test_what_macos_and_windows_leave_is_passed_over(images) -> None:
    root = images(*classes("a", "b"))
    (root / "__MACOSX" / "a").mkdir(parents=True)
    for junk in (".DS_Store", "Thumbs.db", "a/._0.png", "__MACOSX/a/0.png", "desktop.ini"):
        (root / junk).write_bytes(b"junk")
    mine = source(root)
    assert mine.classes == ("a", "b")
    assert len(mine.split("train")) == 4


def test_classes_that_differ_in_capitals_alone_are_told(images, monkeypatch) -> None:
    mine = source(images(*classes("Benign", "Malignant", "benign_")))
    # As on a disk that tells capitals apart, which not every machine has.
    renamed = (replace(entry, label=str(entry.label).rstrip("_")) for entry in mine._entries)
    monkeypatch.setitem(mine.__dict__, "_entries", tuple(renamed))
    assert "differ by more than capitals, not Benign and benign. Merge" in told(mine)


def test_held_out_folders_without_train_are_no_classes(images) -> None:
    assert "must hold train/ beside test and val. Add it" in told(source(images(*classes("val/a", "val/b", "test/a"))))


def test_a_class_may_be_named_like_a_split(images) -> None:
    assert source(images(*classes("test", "control"))).classes == ("control", "test")


def test_all_images_held_out_is_told_by_the_right_keys(images) -> None:
    line = told(source(images(*classes("a", "b")), val_fraction=0.5, test_fraction=0.5))
    assert "split train" in line
    assert "smaller dataset.val_fraction and dataset.test_fraction" in line


def test_other_files_are_counted(images, tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.dcm").write_bytes(b"")
    assert "There are none (3 files end in .dcm); convert them" in told(source(root))


@pytest.mark.parametrize(("content", "kind"), [(b"", "it is empty"), (b"hello", "it is text")])
def test_says_what_an_unreadable_file_is(images, content: bytes, kind: str) -> None:
    root = images(*classes("a", "b"))
    for path in root.rglob("*.png"):
        path.write_bytes(content)
    assert f"must be a readable image ({kind}). Replace or remove it." in told(source(root))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("file;patient\na/0.png;1\n", "separated by commas; it has the columns file;patient."),
        ("", "it has no rows."),
    ],
)
def test_a_csv_of_another_kind_is_told_with_what_it_has(images, tmp_path: Path, content: str, rule: str) -> None:
    (tmp_path / "who.csv").write_text(content, encoding="utf-8")
    assert rule in told(source(images(*classes("a", "b")), groups_csv=str(tmp_path / "who.csv")))


def test_a_csv_that_is_a_folder_is_told(images, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a readable file"):
        source(images(*classes("a", "b")), groups_csv=str(tmp_path)).content_hash()


def test_a_wrong_class_is_told_before_anything_is_decoded(images, monkeypatch) -> None:
    mine = source(images(*classes("train/a", "train/b", "val/c")))
    monkeypatch.setattr(Folder, "_images", lambda *_: pytest.fail("decoded"))
    assert "must be of a class that train/ has" in told(mine, "val")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names as text")
def test_a_name_that_is_no_text_is_told(images) -> None:
    root = images(*classes("a", "b"))
    os.rename(root / "a" / "0.png", os.fsencode(root / "a") + b"/\xe4.png")
    line = told(source(root))
    assert "must have a name in UTF-8. Rename it." in line
    line.encode("utf-8")
