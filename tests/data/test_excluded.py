"""A data set without some of its images: what is left, its identity, and CSV files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folder_sources import build_folder
from PIL import Image

from simclr_med.csv_cells import escape_cell
from simclr_med.data.excluded import Excluded
from simclr_med.data.npz import Npz
from simclr_med.errors import DataError


@pytest.fixture
def scans(tmp_path: Path) -> Npz:
    """10, 4 and 4 images of 8 px; each has its own grey value."""
    content = {}
    for number, (split, count) in enumerate((("train", 10), ("val", 4), ("test", 4))):
        values = np.arange(count, dtype=np.uint8) + 50 * number
        content[f"{split}_images"] = np.broadcast_to(values[:, None, None], (count, 8, 8)).copy()
        content[f"{split}_labels"] = (np.arange(count) % 2)[:, None]
    np.savez(tmp_path / "scans.npz", **content)
    return Npz("scans", str(tmp_path / "scans.npz"), None, None)


def listed(folder: Path, text: str, name: str = "exclude.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_listed_images_are_gone_and_the_others_keep_their_order(scans: Npz, tmp_path: Path) -> None:
    path = listed(tmp_path, "split,index,reason\ntrain,3,twin\ntrain,0,twin\nval,1,\ntrain,3,again\n")
    left = Excluded(scans, path)
    train, val = left.split("train"), left.split("val")
    assert train.images[:, 0, 0, 0].tolist() == [1, 2, 4, 5, 6, 7, 8, 9]
    assert val.images[:, 0, 0, 0].tolist() == [50, 52, 53]
    assert train.labels is not None
    assert train.labels[:, 0].tolist() == [1, 0, 0, 1, 0, 1, 0, 1]
    assert np.array_equal(left.labels("train"), train.labels)
    assert len(left.split("test")) == 4
    assert (left.name, left.size, left.channels, left.task) == ("scans", 8, 1, "binary-class")
    assert (left.classes, left.available_splits(), left.labelled_splits()) == (
        scans.classes,
        scans.available_splits(),
        scans.labelled_splits(),
    )


def test_identity_is_what_is_left_out_and_not_the_file(scans: Npz, tmp_path: Path) -> None:
    def identity(text: str, name: str = "exclude.csv") -> str:
        return Excluded(scans, listed(tmp_path, text, name)).content_hash()

    one = identity("split,index\ntrain,3\ntrain,4\n")
    assert one == identity("index,reason,split\n4,because,train\n3,,train\n3,,train\n", "other.csv")
    assert one != identity("split,index\ntrain,3\n")
    assert one != identity("split,index\nval,3\ntrain,4\n") != scans.content_hash()
    assert identity("split,index\n") == scans.content_hash()


def test_files_are_found_by_path_or_unique_name(tmp_path: Path) -> None:
    for name in ("train/a/=1.png", "train/a/2.png", "train/b/3.png", "val/a/2.png", "val/b/5.png", "train/b/6.png"):
        path = tmp_path / "scans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 9, np.uint8)).save(path)
    whole = build_folder(tmp_path / "scans")
    lines = "\n".join(["file", escape_cell("train/a/=1.png"), "6.png", r".\val\a\2.png"])
    left = Excluded(whole, listed(tmp_path, lines))
    assert left.names("train") == ("train/a/2.png", "train/b/3.png")
    assert left.split("val").names == left.names("val") == ("val/b/5.png",)
    with pytest.raises(DataError, match=r"line 2: the data set has no file 2\.png"):
        _ = Excluded(whole, listed(tmp_path, "file\n2.png\n")).rows  # two files have this name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns split and index (or file); the file is empty"),
        ("image,why\n1,x\n", "expected the columns split and index (or file); found image, why"),
        ("split,index\ntrain,3\nTrain,4\n", "line 3: expected train, val or test as split, found Train"),
        ("split,index\ntrain,-1\n", "line 2: expected a row number from 0 as index, found -1"),
        ("split,index\ntrain,1.5\n", "line 2: expected a row number from 0 as index, found 1.5"),
        ("split,index\ntrain\n", "line 2: expected a row number from 0 as index, found nothing"),
    ],
)
def test_a_csv_that_cannot_be_used_is_one_line(scans: Npz, tmp_path: Path, text: str, message: str) -> None:
    path = listed(tmp_path, text)
    with pytest.raises(DataError) as caught:
        Excluded(scans, path).content_hash()
    (line,) = caught.value.problems
    assert line.startswith(f"dataset.exclude={path}: ")
    assert message in line


def test_rows_beyond_the_split_and_whole_splits_are_refused(scans: Npz, tmp_path: Path) -> None:
    beyond = Excluded(scans, listed(tmp_path, "split,index\nval,4\n"))
    with pytest.raises(DataError, match="val has 4 images, rows 0 to 3; found row 4"):
        beyond.split("val")
    with pytest.raises(DataError, match="val has 4 images"):
        beyond.labels("val")
    lines = "".join(f"val,{row}\n" for row in range(4))
    with pytest.raises(DataError, match="no image of val is left"):
        Excluded(scans, listed(tmp_path, f"split,index\n{lines}")).split("val")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff\xfe\x00"), None])
def test_what_is_no_csv_is_one_line(scans: Npz, tmp_path: Path, make) -> None:
    path = tmp_path / "exclude.csv"
    if make is not None:
        make(path)
    with pytest.raises(DataError, match="not a readable CSV"):
        Excluded(scans, str(path)).content_hash()


def test_patients_are_those_of_the_images_that_are_left(scans: Npz, tmp_path: Path) -> None:
    patients = listed(tmp_path, "split,row,patient\n" + "".join(f"train,{row},p{row}\n" for row in range(9)), "p.csv")
    whole = Npz("scans", str(scans.file), None, None, patients)
    left = Excluded(whole, listed(tmp_path, "split,index\ntrain,3\ntrain,0\n"))
    assert left.patients("train") == ("p1", "p2", "p4", "p5", "p6", "p7", "p8", None)
    assert Excluded(scans, listed(tmp_path, "split,index\ntrain,3\n")).patients("train") is None


def test_traces_of_interpolation_are_those_of_the_images_that_are_left(scans: Npz, tmp_path: Path) -> None:
    assert Excluded(scans, listed(tmp_path, "split,index\ntrain,0\n")).interpolation("train") is None
    for side in (40, 50, 60, 70, 80):
        Image.new("L", (side, side)).save(tmp_path / f"{side}.png")
    folder = build_folder(tmp_path, val_fraction=0.0, test_fraction=0.0)
    left = Excluded(folder, listed(tmp_path, "file\n50.png\n"))
    assert left.interpolation("train")[:, 2].tolist() == [40, 60, 70, 80]
