from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from simclr_med.data import decoding, folder
from simclr_med.data.folder import Folder
from simclr_med.errors import DataError


def source(path: Path, **options) -> Folder:
    defaults = {"size": 8, "channels": 3, "split_seed": 0, "val_fraction": 0.2, "test_fraction": 0.2}
    defaults |= {"groups_csv": None, "intensity": "full", "class_folders": None}
    return Folder("mine", str(path), **(defaults | options))


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write small PNGs, each of another grey, under the given relative names."""

    def write(*names: str) -> Path:
        root = tmp_path / "images"
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            value = sum(name.encode()) % 256
            Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(root / name)
        return root

    return write


def numbered(*folders: str, count: int = 10) -> list[str]:
    return [f"{part}{number:03}.png" for part in folders for number in range(count)]


def all_names(mine: Folder) -> dict[str, tuple[str, ...]]:
    return {split: tuple(entry.name for entry in mine.entries(split)) for split in ("train", "val", "test")}


def test_a_plain_folder_has_no_labels_and_a_seeded_split(put) -> None:
    root = put(*numbered("", count=20))
    mine = source(root)
    names = all_names(mine)
    assert {split: len(found) for split, found in names.items()} == {"train": 12, "val": 4, "test": 4}
    assert sorted(sum(names.values(), ())) == numbered("", count=20)
    assert all_names(source(root)) == names
    assert all_names(source(root, split_seed=1)) != names
    assert (mine.task, mine.classes, mine.labels("train")) == (None, (), None)


def test_images_names_and_labels_belong_together(put) -> None:
    mine = source(put(*numbered("b/", "a/x/", "c/")))
    for split in ("train", "val", "test"):
        found = mine.split(split)
        assert found.names == tuple(sorted(found.names))
        for image, label, name in zip(found.images, found.labels, found.names, strict=True):
            assert (image == sum(name.encode()) % 256).all()
            assert "abc"[label[0]] == name[0]
    assert (mine.classes, mine.task) == (("a", "b", "c"), "multi-class")


def test_a_seeded_split_is_stratified(put) -> None:
    mine = source(put(*numbered("many/", count=40), *numbered("few/", count=10)))
    for split, expected in (("train", [6, 24]), ("val", [2, 8]), ("test", [2, 8])):
        assert np.bincount(mine.labels(split)[:, 0]).tolist() == expected


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_hold(put, val) -> None:
    mine = source(put(*numbered("train/a/", "train/b/", f"{val}/a/", "test/b/", count=3)))
    assert [len(mine.entries(split)) for split in ("train", "val", "test")] == [6, 3, 3]
    assert mine.labels("test").tolist() == [[1]] * 3
    assert mine.task == "binary-class"


def test_a_missing_val_comes_out_of_train(put) -> None:
    mine = source(put(*numbered("train/", count=10), *numbered("test/", count=2)))
    names = all_names(mine)
    assert [len(names[split]) for split in ("train", "val", "test")] == [8, 2, 2]
    assert all(name.startswith("train/") for name in names["train"] + names["val"])


def test_a_missing_test_is_told_when_asked_for(put) -> None:
    mine = source(put(*numbered("train/", "val/")))
    assert len(mine.split("val")) == 10
    with pytest.raises(DataError, match="must have images for the split test"):
        mine.split("test")


def test_no_patient_is_on_two_sides(put, tmp_path: Path) -> None:
    names = numbered("a/", "b/", count=30)
    csv = tmp_path / "who.csv"
    who = {name: f"p{number % 17}" for number, name in enumerate(names)}
    csv.write_text("\ufefffile,patient\n" + "".join(f"{name},{patient}\n" for name, patient in who.items()), "utf-8")
    mine = source(put(*names), groups_csv=str(csv))
    sides = [{who[name] for name in found} for found in all_names(mine).values()]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 17
    assert all(6 <= len(found) <= 48 for found in all_names(mine).values())


def test_bare_file_names_will_do_in_the_csv(put, tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("file,patient\nx.png,1\ny.png,1\nz.png,2\n")
    mine = source(put("x.png", "y.png", "z.png"), groups_csv=str(tmp_path / "who.csv"), test_fraction=0.0)
    assert {split: len(mine._parts[split]) for split in ("train", "val")} in (
        {"train": 2, "val": 1},
        {"train": 3, "val": 0},
    )


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "must be a readable CSV"),
        ("name,who\nx.png,1\n", "columns file and patient"),
        ("file,patient\nx.png,1\n", "name a patient for each image, not so for y.png"),
        ("file,patient\nx.png,1\nx.png,2\ny.png,1\n", "name one patient for an image, not so for x.png"),
    ],
)
def test_a_csv_that_does_not_fit_is_told(put, tmp_path: Path, content, rule) -> None:
    if content is not None:
        (tmp_path / "who.csv").write_text(content)
    with pytest.raises(DataError, match=f"dataset.groups_csv=.*{rule}"):
        source(put("x.png", "y.png"), groups_csv=str(tmp_path / "who.csv")).entries("train")


def test_a_patient_in_two_split_folders_is_told(put, tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("file,patient\ntrain/x.png,7\ntest/y.png,7\ntrain/z.png,8\n")
    with pytest.raises(DataError, match="must keep each patient in one split; 7 is in train and test"):
        source(put("train/x.png", "train/z.png", "test/y.png"), groups_csv=str(tmp_path / "who.csv")).entries("train")


@pytest.mark.parametrize(
    ("names", "options", "rule"),
    [
        ([], {}, "must be a folder"),
        (["a/x.png"], {}, "at least two class folders, there is only a"),
        (["a/x.png", "b/y.png", "z.png"], {}, "all images in class folders or none, but z.png"),
        (["train/x.png", "other/y.png"], {}, "in its split folders alone, but has other/y.png"),
        (["train/x.png", "val/y.png", "valid/z.png"], {}, "one folder a split"),
        (["x.png"], {"class_folders": True}, "dataset.class_folders=True: must find class folders"),
        (["train/a/x.png", "train/b/x.png", "val/c/x.png"], {}, "must be of a class that train/ has"),
    ],
)
def test_a_layout_that_does_not_fit_is_told_in_one_line(put, tmp_path: Path, names, options, rule) -> None:
    put(*names)
    mine = source(tmp_path / "images", **options)
    with pytest.raises(DataError, match=f"(?i){rule}") as error:
        [mine.labels(split) for split in ("train", "val")]
    assert len(error.value.problems) == 1
    assert "\n" not in error.value.problems[0]


def test_an_empty_class_and_a_folder_without_images_are_told(put) -> None:
    root = put("a/x.png", "b/x.png")
    (root / "c").mkdir()
    (root / "c" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"images/c: must hold images, as each class folder does"):
        source(root).content_hash()
    with pytest.raises(DataError, match=r"images/c: must hold images \(.png"):
        source(root / "c").content_hash()


def test_subfolders_need_not_be_classes(put) -> None:
    mine = source(put("p1/x.png", "p2/y.png", "z.png"), class_folders=False, val_fraction=0.0, test_fraction=0.0)
    assert (mine.split("train").names, mine.classes) == (("p1/x.png", "p2/y.png", "z.png"), ())


def test_hidden_files_and_other_kinds_are_passed_over(put) -> None:
    root = put("a.png", "b.PNG", ".c.png", ".hidden/d.png")
    (root / "readme.txt").touch()
    mine = source(root, val_fraction=0.0, test_fraction=0.0)
    assert mine.split("train").names == ("a.png", "b.PNG")


def test_an_unreadable_file_is_named(put) -> None:
    root = put(*numbered(""))
    (root / "005.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images/005.png: must be a readable image") as error:
        [source(root).split(split) for split in ("train", "val", "test")]
    assert "\n" not in str(error.value)


def test_asking_for_train_decodes_train_alone(put, monkeypatch) -> None:
    seen = []
    image = decoding.image
    monkeypatch.setattr(decoding, "image", lambda file, *a: seen.append(file.name) or image(file, *a))
    mine = source(put(*numbered("")))
    mine.content_hash()
    names = mine.split("train").names
    assert sorted(seen) == sorted(names)


def test_a_second_start_decodes_nothing(put, monkeypatch) -> None:
    root = put(*numbered(""))
    first = source(root).split("train").images
    monkeypatch.setattr(decoding, "image", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(Folder, "_compute_digest", lambda *_: pytest.fail("hashed again"))
    np.testing.assert_array_equal(source(root).split("train").images, first)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-60] + b"x" + b[-59:], lambda b: b""])
def test_a_damaged_cache_is_decoded_anew(put, cache: Path, damage) -> None:
    root = put(*numbered(""))
    first = source(root).split("train").images
    (cached,) = (cache / "folders").glob("*.npy")
    cached.write_bytes(damage(cached.read_bytes()))
    np.testing.assert_array_equal(source(root).split("train").images, first)


def test_a_home_that_cannot_be_written_does_no_harm(put, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "no folder").touch()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "no folder" / name)
    assert len(source(put(*numbered(""))).split("train")) == 6


def test_a_large_split_is_mapped(put, monkeypatch) -> None:
    monkeypatch.setattr(folder, "MMAP_ABOVE", 100)
    monkeypatch.setattr(decoding, "BLOCK", 4)
    found = source(put(*numbered(""))).split("train")
    assert isinstance(found.images, np.memmap)
    assert [image[0, 0, 0] for image in found.images] == [sum(name.encode()) % 256 for name in found.names]


def test_the_content_hash_follows_names_bytes_and_patients(put, tmp_path: Path) -> None:
    root = put("a.png", "b.png", "c.png")
    hashes = [source(root).content_hash()]
    (root / "c.png").rename(root / "d.png")
    hashes.append(source(root).content_hash())
    Image.new("RGB", (8, 8), "red").save(root / "d.png")
    hashes.append(source(root).content_hash())
    (tmp_path / "who.csv").write_text("file,patient\na.png,1\nb.png,2\nd.png,3\n")
    hashes.append(source(root, groups_csv=str(tmp_path / "who.csv")).content_hash())
    (tmp_path / "who.csv").write_text("file,patient\na.png,1\nb.png,2\nd.png,33\n")
    hashes.append(source(root, groups_csv=str(tmp_path / "who.csv")).content_hash())
    assert len(set(hashes)) == 5
    (root / "d.png").rename(root / "c.png")
    assert source(root).content_hash() not in hashes


def test_spaces_and_letters_of_all_scripts_work(put, tmp_path: Path) -> None:
    names = [f"größer {k}/血液 {n}.png" for k in ("é", "ü") for n in range(5)]
    (tmp_path / "wer é.csv").write_text("file,patient\n" + "".join(f"{n},{i}\n" for i, n in enumerate(names)), "utf-8")
    mine = source(put(*names), groups_csv=str(tmp_path / "wer é.csv"))
    assert mine.classes == ("größer é", "größer ü")
    assert len(mine.split("train")) == 6
    assert mine.content_hash()


def test_sixteen_bit_tiffs_are_read_from_a_folder(tmp_path: Path) -> None:
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.full((8, 8), number * 257, np.uint16))
    mine = source(tmp_path, channels=1, val_fraction=0.0, test_fraction=0.0)
    assert mine.split("train").images[:, 0, 0, 0].tolist() == [0, 1, 2]
