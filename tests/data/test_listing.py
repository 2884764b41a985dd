"""Listing of folders as users have them: ignored files, and error messages in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from folder_sources import build_folder
from PIL import Image

from simclr_med.data.folder import Folder
from simclr_med.errors import DataError


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes black PNGs under relative names."""

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
        return tmp_path / "images"

    return write


def source(path: Path, **options) -> Folder:
    """Build a folder data set with 1/4 of the images in each of val and test."""
    return build_folder(path, **({"val_fraction": 0.25, "test_fraction": 0.25} | options))


def name_files(*names: str) -> list[str]:
    return [f"{name}/{number}.png" for name in names for number in range(4)]


def read_error(mine: Folder, split: str = "train") -> str:
    with pytest.raises(DataError) as error:
        mine.split(split)
    (line,) = error.value.problems
    assert "\n" not in line
    return line


def test_system_files_of_macos_and_windows_are_ignored(write_images) -> None:
    root = write_images(*name_files("a", "b"))
    (root / "__MACOSX" / "a").mkdir(parents=True)
    for junk in (".DS_Store", "Thumbs.db", "a/._0.png", "__MACOSX/a/0.png", "desktop.ini"):
        (root / junk).write_bytes(b"junk")
    mine = source(root)
    assert mine.classes == ("a", "b")
    assert len(mine.split("train")) == 4


def test_classes_that_differ_only_in_case_are_an_error(write_images, monkeypatch) -> None:
    mine = source(write_images(*name_files("Benign", "Malignant", "benign_")))
    # Set by hand, since not every file system distinguishes upper and lower case.
    renamed = (replace(entry, label=str(entry.label).rstrip("_")) for entry in mine._files.entries)
    monkeypatch.setitem(mine._files.__dict__, "entries", tuple(renamed))
    assert "Benign and benign differ only in upper and lower case. Merge" in read_error(mine)


def test_val_and_test_without_train_are_an_error(write_images) -> None:
    assert "found test and val but no train/. Add train/" in read_error(
        source(write_images(*name_files("val/a", "val/b", "test/a")))
    )


def test_class_may_be_named_test(write_images) -> None:
    assert source(write_images(*name_files("test", "control"))).classes == ("control", "test")


def test_empty_train_split_is_an_error_with_the_right_keys(write_images) -> None:
    line = read_error(source(write_images(*name_files("a", "b")), val_fraction=0.5, test_fraction=0.5))
    assert "split train" in line
    assert "decrease dataset.val_fraction and dataset.test_fraction" in line


def test_folder_without_images_names_the_other_files(write_images, tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.nii").write_bytes(b"")
    assert "found (3 files end in .nii). Convert the files" in read_error(source(root))


@pytest.mark.parametrize(("content", "kind"), [(b"", "it is empty"), (b"hello", "it is text")])
def test_unreadable_file_is_described(write_images, content: bytes, kind: str) -> None:
    root = write_images(*name_files("a", "b"))
    for path in root.rglob("*.png"):
        path.write_bytes(content)
    assert f"not a readable image ({kind}). Replace or remove the file." in read_error(source(root))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("file;patient\na/0.png;1\n", "separated by commas, found the columns file;patient."),
        ("", "found no rows."),
    ],
)
def test_csv_without_the_columns_is_described(write_images, tmp_path: Path, content: str, rule: str) -> None:
    (tmp_path / "patients.csv").write_text(content, encoding="utf-8")
    assert rule in read_error(source(write_images(*name_files("a", "b")), groups_csv=str(tmp_path / "patients.csv")))


def test_csv_that_is_a_folder_is_an_error(write_images, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a readable CSV \(is a folder\)"):
        source(write_images(*name_files("a", "b")), groups_csv=str(tmp_path)).content_hash()


def test_unknown_class_is_an_error_before_decoding(write_images, monkeypatch) -> None:
    mine = source(write_images(*name_files("train/a", "train/b", "val/c")))
    monkeypatch.setattr(Folder, "_load_images", lambda *_: pytest.fail("decoded"))
    assert "the class c is not in train/" in read_error(mine, "val")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows file names that are not text")
def test_file_name_that_is_not_utf8_is_an_error(write_images) -> None:
    root = write_images(*name_files("a", "b"))
    os.rename(root / "a" / "0.png", os.fsencode(root / "a") + b"/\xe4.png")
    line = read_error(source(root))
    assert "the file name is not UTF-8. Rename the file." in line
    line.encode("utf-8")
