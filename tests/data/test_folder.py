"""Folders of images: splits, classes, patients, cache and content hash."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from folder_sources import build_folder
from joblib.externals import loky
from PIL import Image

from simclr_med.data import decoding, image_cache
from simclr_med.data.folder import Folder
from simclr_med.data.folder_files import FolderFiles
from simclr_med.data.intensity import FULL
from simclr_med.errors import DataError


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes small PNGs, each with its own grey value, under relative names."""

    def write(*names: str) -> Path:
        root = tmp_path / "images"
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            value = sum(name.encode()) % 256
            Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(root / name)
        return root

    return write


def number_names(*folders: str, count: int = 10) -> list[str]:
    return [f"{part}{number:03}.png" for part in folders for number in range(count)]


def list_names(mine: Folder) -> dict[str, tuple[str, ...]]:
    return {split: tuple(entry.name for entry in mine.entries(split)) for split in ("train", "val", "test")}


def test_folder_without_subfolders_has_a_seeded_split_and_no_labels(write_images) -> None:
    root = write_images(*number_names("", count=20))
    mine = build_folder(root)
    names = list_names(mine)
    assert {split: len(found) for split, found in names.items()} == {"train": 12, "val": 4, "test": 4}
    assert sorted(sum(names.values(), ())) == number_names("", count=20)
    assert list_names(build_folder(root)) == names
    assert list_names(build_folder(root, split_seed=1)) != names
    assert (mine.task, mine.classes, mine.labels("train")) == (None, (), None)


def test_images_names_and_labels_belong_together(write_images) -> None:
    mine = build_folder(write_images(*number_names("b/", "a/x/", "c/")))
    for split in ("train", "val", "test"):
        found = mine.split(split)
        assert found.names == tuple(sorted(found.names))
        for image, label, name in zip(found.images, found.labels, found.names, strict=True):
            assert (image == sum(name.encode()) % 256).all()
            assert "abc"[label[0]] == name[0]
    assert (mine.classes, mine.task) == (("a", "b", "c"), "multi-class")


def test_seeded_split_is_stratified(write_images) -> None:
    mine = build_folder(write_images(*number_names("many/", count=40), *number_names("few/", count=10)))
    for split, expected in (("train", [6, 24]), ("val", [2, 8]), ("test", [2, 8])):
        assert np.bincount(mine.labels(split)[:, 0]).tolist() == expected


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_define_the_splits(write_images, val) -> None:
    mine = build_folder(write_images(*number_names("train/a/", "train/b/", f"{val}/a/", "test/b/", count=3)))
    assert [len(mine.entries(split)) for split in ("train", "val", "test")] == [6, 3, 3]
    assert mine.labels("test").tolist() == [[1]] * 3
    assert mine.task == "binary-class"


def test_missing_val_is_taken_from_train(write_images) -> None:
    mine = build_folder(write_images(*number_names("train/", count=10), *number_names("test/", count=2)))
    names = list_names(mine)
    assert [len(names[split]) for split in ("train", "val", "test")] == [8, 2, 2]
    assert all(name.startswith("train/") for name in names["train"] + names["val"])


def test_missing_test_split_is_an_error_when_read(write_images) -> None:
    mine = build_folder(write_images(*number_names("train/", "val/")))
    assert len(mine.split("val")) == 10
    with pytest.raises(DataError, match=r"the split test has no images. Add the folder test/"):
        mine.split("test")


def test_no_patient_is_in_two_splits(write_images, tmp_path: Path) -> None:
    names = number_names("a/", "b/", count=30)
    csv = tmp_path / "patients.csv"
    patients = {name: f"p{number % 17}" for number, name in enumerate(names)}
    csv.write_text(
        "\ufefffile,patient\n" + "".join(f"{name},{patient}\n" for name, patient in patients.items()), "utf-8"
    )
    mine = build_folder(write_images(*names), groups_csv=str(csv))
    members = [{patients[name] for name in found} for found in list_names(mine).values()]
    assert sum(map(len, members)) == len(set().union(*members)) == 17
    assert all(6 <= len(found) <= 48 for found in list_names(mine).values())


def test_csv_may_name_files_without_folders(write_images, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("file,patient\nx.png,1\ny.png,1\nz.png,2\n")
    mine = build_folder(
        write_images("x.png", "y.png", "z.png"), groups_csv=str(tmp_path / "patients.csv"), test_fraction=0.0
    )
    assert {split: len(mine._splits[split]) for split in ("train", "val")} in (
        {"train": 2, "val": 1},
        {"train": 3, "val": 0},
    )


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "not a readable CSV"),
        ("file,patient\nä.png,1\n".encode("utf-16"), r"not a readable CSV \(it is not UTF-8 text\)"),
        ("name,patients\nx.png,1\n", "columns file and patient"),
        ("file,patient\nx.png,1\n", "no patient for y.png"),
        ("file,patient\nx.png,1\nx.png,2\ny.png,1\n", "several patients for x.png"),
    ],
)
def test_unusable_csv_is_an_error(write_images, tmp_path: Path, content, rule) -> None:
    if content is not None:
        (tmp_path / "patients.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=f"dataset.groups_csv=.*{rule}"):
        build_folder(write_images("x.png", "y.png"), groups_csv=str(tmp_path / "patients.csv")).entries("train")


def test_csv_that_is_a_folder_is_named_by_its_key(write_images, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").mkdir()
    mine = build_folder(write_images("x.png", "y.png"), groups_csv=str(tmp_path / "patients.csv"))
    for read in (mine.content_hash, lambda: mine.entries("train")):
        with pytest.raises(DataError, match=r"^dataset\.groups_csv=.*: not a readable CSV \(is a folder\)"):
            read()


def test_csv_with_several_patients_and_the_folders_does_not_ask_for_folders(write_images, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("file,patient\na/x.png,1\na/x.png,2\nb/x.png,3\n")
    with pytest.raises(DataError, match=r"several patients for a/x\.png\. Correct the CSV\."):
        build_folder(write_images("a/x.png", "b/x.png"), groups_csv=str(tmp_path / "patients.csv")).entries("train")


def test_patient_in_two_split_folders_is_an_error(write_images, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("file,patient\ntrain/x.png,7\ntest/y.png,7\ntrain/z.png,8\n")
    with pytest.raises(DataError, match=r"the patient 7 is in train and test. Move"):
        build_folder(
            write_images("train/x.png", "train/z.png", "test/y.png"), groups_csv=str(tmp_path / "patients.csv")
        ).entries("train")


@pytest.mark.parametrize(
    ("names", "options", "rule"),
    [
        ([], {}, "not a folder"),
        (["a/x.png"], {}, "at least two class folders, found only a"),
        (["a/x.png", "b/y.png", "z.png"], {}, "z.png is outside the class folders"),
        (["train/x.png", "other/y.png"], {}, "other/y.png is outside the split folders"),
        (["train/x.png", "val/y.png", "valid/z.png"], {}, "one folder per split"),
        (["x.png"], {"class_folders": True}, "dataset.class_folders=True: no class folders found"),
        (["train/a/x.png", "train/b/x.png", "val/c/x.png"], {}, "the class c is not in train/"),
    ],
)
def test_ambiguous_layout_is_an_error_in_one_line(write_images, tmp_path: Path, names, options, rule) -> None:
    write_images(*names)
    mine = build_folder(tmp_path / "images", **options)
    with pytest.raises(DataError, match=f"(?i){rule}") as error:
        [mine.labels(split) for split in ("train", "val")]
    assert len(error.value.problems) == 1
    assert "\n" not in error.value.problems[0]


def test_empty_class_and_folder_without_images_are_errors(write_images) -> None:
    root = write_images("a/x.png", "b/x.png")
    (root / "c").mkdir()
    (root / "c" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"images/c: the class folder has no images"):
        build_folder(root).content_hash()
    with pytest.raises(DataError, match=r"images/c: no images \(.png"):
        build_folder(root / "c").content_hash()


def test_class_folders_false_ignores_subfolders(write_images) -> None:
    mine = build_folder(
        write_images("p1/x.png", "p2/y.png", "z.png"), class_folders=False, val_fraction=0.0, test_fraction=0.0
    )
    assert (mine.split("train").names, mine.classes) == (("p1/x.png", "p2/y.png", "z.png"), ())


def test_hidden_files_and_other_types_are_ignored(write_images) -> None:
    root = write_images("a.png", "b.PNG", ".c.png", ".hidden/d.png")
    (root / "readme.txt").touch()
    mine = build_folder(root, val_fraction=0.0, test_fraction=0.0)
    assert mine.split("train").names == ("a.png", "b.PNG")


def test_unreadable_file_is_named(write_images) -> None:
    root = write_images(*number_names(""))
    (root / "005.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images/005.png: not a readable image") as error:
        [build_folder(root).split(split) for split in ("train", "val", "test")]
    assert "\n" not in str(error.value)


def test_reading_train_decodes_train_alone(write_images, monkeypatch) -> None:
    seen = []
    image = decoding.decode_image
    monkeypatch.setattr(decoding, "decode_image", lambda file, *a: seen.append(file.name) or image(file, *a))
    mine = build_folder(write_images(*number_names("")))
    mine.content_hash()
    names = mine.split("train").names
    assert sorted(seen) == sorted(names)


def test_second_start_decodes_and_hashes_nothing(write_images, monkeypatch) -> None:
    root = write_images(*number_names(""))
    first = build_folder(root).split("train").images
    monkeypatch.setattr(decoding, "decode_image", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(FolderFiles, "_compute_digest", lambda *_: pytest.fail("hashed again"))
    np.testing.assert_array_equal(build_folder(root).split("train").images, first)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-60] + b"x" + b[-59:], lambda b: b""])
def test_damaged_cache_is_replaced(write_images, cache: Path, damage) -> None:
    root = write_images(*number_names(""))
    first = build_folder(root).split("train").images
    (cached,) = (cache / "folders").glob("*.npy")
    cached.write_bytes(damage(cached.read_bytes()))
    np.testing.assert_array_equal(build_folder(root).split("train").images, first)


def test_read_only_home_works_without_a_cache(write_images, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "no folder").touch()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "no folder" / name)
    assert len(build_folder(write_images(*number_names(""))).split("train")) == 6


def test_large_split_is_memory_mapped(write_images, monkeypatch) -> None:
    monkeypatch.setattr(image_cache, "MMAP_ABOVE", 100)
    monkeypatch.setattr(decoding, "BLOCK", 4)
    found = build_folder(write_images(*number_names(""))).split("train")
    assert isinstance(found.images, np.memmap)
    assert [image[0, 0, 0] for image in found.images] == [sum(name.encode()) % 256 for name in found.names]


def test_processes_decode_as_threads_do(write_images, monkeypatch) -> None:
    root = write_images(*number_names("", count=50))
    names = number_names("", count=50)
    expected = np.concatenate(list(decoding.decode_images(root, names, 4, 1, FULL)))
    monkeypatch.setattr(decoding, "MANY", 10)
    monkeypatch.setattr(decoding, "BLOCK", 4)
    monkeypatch.setattr(decoding, "AHEAD", 1)
    np.testing.assert_array_equal(np.concatenate(list(decoding.decode_images(root, names, 4, 1, FULL))), expected)
    for name in ("007.png", "030.png"):
        (root / name).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images/007.png: not a readable image"):
        list(decoding.decode_images(root, names, 4, 1, FULL))


def read_parent(process: Path) -> int | None:
    """Return the number of a process's parent; None where the process ended meanwhile."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


DECODE_FOR_EVER = """
import sys
from pathlib import Path
from simclr_med.data import decoding
from simclr_med.data.intensity import FULL
decoding.MANY = 0
while True:
    for block in decoding.decode_images(Path(sys.argv[1]), sys.argv[2:] * 1000, 64, 3, FULL):
        print("decoding", flush=True)
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="requires /proc (Linux)")
def test_killed_command_leaves_no_decoding_process(write_images) -> None:
    root = write_images("a.png")
    command = [sys.executable, "-c", DECODE_FOR_EVER, str(root), "a.png"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as main:
        assert main.stdout is not None
        assert main.stdout.readline() == b"decoding\n"
        children = [process for process in Path("/proc").glob("[0-9]*") if read_parent(process) == main.pid]
        main.kill()
    deadline = time.monotonic() + 60
    while any(process.exists() for process in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert children
    assert not [process for process in children if process.exists()]


def test_few_decoded_blocks_wait_in_memory(monkeypatch) -> None:
    started = []
    monkeypatch.setattr(decoding, "BLOCK", 1)
    monkeypatch.setattr(decoding, "_decode_block", lambda _, names, **options: started.append(names) or np.zeros(1))
    blocks = decoding.decode_images(Path("/none"), [str(n) for n in range(1000)], 1, 1, FULL)
    for _ in range(3):
        next(blocks)
    blocks.close()
    assert len(started) <= decoding.AHEAD * loky.cpu_count() + 3


def test_content_hash_changes_with_names_bytes_and_patients(write_images, tmp_path: Path) -> None:
    root = write_images("a.png", "b.png", "c.png")
    hashes = [build_folder(root).content_hash()]
    (root / "c.png").rename(root / "d.png")
    hashes.append(build_folder(root).content_hash())
    Image.new("RGB", (8, 8), "red").save(root / "d.png")
    hashes.append(build_folder(root).content_hash())
    (tmp_path / "patients.csv").write_text("file,patient\na.png,1\nb.png,2\nd.png,3\n")
    hashes.append(build_folder(root, groups_csv=str(tmp_path / "patients.csv")).content_hash())
    (tmp_path / "patients.csv").write_text("file,patient\na.png,1\nb.png,2\nd.png,33\n")
    hashes.append(build_folder(root, groups_csv=str(tmp_path / "patients.csv")).content_hash())
    assert len(set(hashes)) == 5
    (root / "d.png").rename(root / "c.png")
    assert build_folder(root).content_hash() not in hashes


def test_spaces_and_non_ascii_names_work(write_images, tmp_path: Path) -> None:
    names = [f"größer {k}/血液 {n}.png" for k in ("é", "ü") for n in range(5)]
    (tmp_path / "patienten é.csv").write_text(
        "file,patient\n" + "".join(f"{n},{i}\n" for i, n in enumerate(names)), "utf-8"
    )
    mine = build_folder(write_images(*names), groups_csv=str(tmp_path / "patienten é.csv"))
    assert mine.classes == ("größer é", "größer ü")
    assert len(mine.split("train")) == 6
    assert mine.content_hash()


def test_16_bit_tiffs_are_read(tmp_path: Path) -> None:
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.full((8, 8), number * 257, np.uint16))
    mine = build_folder(tmp_path, channels=1, val_fraction=0.0, test_fraction=0.0)
    assert mine.split("train").images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_patients_follow_the_images(write_images, tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    (tmp_path / "p.csv").write_text("file,patient\n" + "".join(f"{name},p{int(name[:-4]) % 7}\n" for name in names))
    mine = build_folder(write_images(*names), groups_csv=str(tmp_path / "p.csv"))
    for split in ("train", "val", "test"):
        assert mine.patients(split) == tuple(f"p{int(name[:-4]) % 7}" for name in mine.names(split))
    assert build_folder(write_images("x.png", "y.png", "z.png")).patients("train") is None
