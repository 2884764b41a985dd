"""The conversion of a large array to a memory map."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from simclr_med.data import arrays, npy
from simclr_med.errors import DataError

KEY = "train_images"


@pytest.fixture
def file(tmp_path: Path, layout) -> Path:
    np.savez_compressed(tmp_path / "big.npz", **layout(size=64))
    return tmp_path / "big.npz"


@pytest.fixture
def images(layout) -> np.ndarray:
    return layout(size=64)[KEY]


def converted(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_a_large_array_is_mapped_from_beside_the_file(file: Path, images) -> None:
    found = arrays.read_or_map(file, KEY, mmap_above=1000)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, images)
    (made,) = converted(file.parent)
    assert made.parent == file.parent / ".simclr_med"
    np.testing.assert_array_equal(np.load(made, allow_pickle=False), images)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_a_small_array_stays_in_memory(file: Path, images) -> None:
    found = arrays.read_or_map(file, KEY, mmap_above=images.nbytes)
    assert not isinstance(found, np.memmap)
    assert not converted(file.parent)


def test_the_conversion_happens_once(file: Path, monkeypatch) -> None:
    arrays.read_or_map(file, KEY, mmap_above=1000)
    monkeypatch.setattr(npy, "write", lambda *_: pytest.fail("converted again"))
    arrays.read_or_map(file, KEY, mmap_above=1000)


def test_eight_at_once_convert_once(file: Path, images, monkeypatch) -> None:
    calls, write = [], npy.write
    monkeypatch.setattr(npy, "write", lambda *args: calls.append(1) or write(*args))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: arrays.read_or_map(file, KEY, mmap_above=1000), range(8)))
    assert all((f == images).all() for f in found)
    assert len(calls) == 1


def test_a_changed_file_is_converted_anew_and_the_old_array_goes(file: Path, images) -> None:
    arrays.read_or_map(file, KEY, mmap_above=1000)
    (before,) = converted(file.parent)
    np.savez_compressed(file, train_images=255 - images)
    os.utime(file, ns=(1, 1))
    np.testing.assert_array_equal(arrays.read_or_map(file, KEY, mmap_above=1000), 255 - images)
    (after,) = converted(file.parent)
    assert before != after


@pytest.mark.parametrize("damage", [lambda b: b[:-50], lambda b: b + b"x", lambda b: b"garbage", lambda b: b""])
def test_a_damaged_conversion_is_made_anew(file: Path, images, damage) -> None:
    arrays.read_or_map(file, KEY, mmap_above=1000)
    (made,) = converted(file.parent)
    content = made.read_bytes()
    made.unlink()  # not in place: the map above lives on in this process
    made.write_bytes(damage(content))
    np.testing.assert_array_equal(arrays.read_or_map(file, KEY, mmap_above=1000), images)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_falls_back_to_the_cache(file: Path, images, cache: Path, monkeypatch, code) -> None:
    mkdir = Path.mkdir

    def refuse(self: Path, *args, **kwargs) -> None:
        if self == file.parent / ".simclr_med":
            raise OSError(code, os.strerror(code), str(self))
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    np.testing.assert_array_equal(arrays.read_or_map(file, KEY, mmap_above=1000), images)
    assert len(converted(cache)) == 1
    assert not (file.parent / ".simclr_med").exists()


def test_a_full_disk_leaves_nothing_and_is_told(file: Path, monkeypatch, cache: Path) -> None:
    def full(path: Path, shape: tuple[int, ...], blocks) -> None:
        npy_write(path, shape, (block if i == 0 else fail() for i, block in enumerate(blocks)))

    def fail() -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    npy_write = npy.write
    monkeypatch.setattr(arrays, "BLOCK", 1000)
    monkeypatch.setattr(npy, "write", full)
    with pytest.raises(DataError, match=r"No space left on device.*Make room") as error:
        arrays.read_or_map(file, KEY, mmap_above=1000)
    assert len(error.value.problems) == 1
    assert not [p for folder in (file.parent, cache) for p in folder.rglob("*") if p.suffix in (".npy", ".tmp")]


def test_too_little_room_is_seen_before_writing(file: Path, monkeypatch) -> None:
    monkeypatch.setattr(arrays.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    monkeypatch.setattr(npy, "write", lambda *_: pytest.fail("wrote"))
    with pytest.raises(DataError, match="No space left"):
        arrays.read_or_map(file, KEY, mmap_above=1000)


def test_a_damaged_zip_leaves_no_conversion(file: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[3000] ^= 255
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"must be an intact .npz"):
        arrays.read_or_map(file, KEY, mmap_above=1000)
    assert not converted(file.parent)
    assert not list(file.parent.rglob("*.tmp"))


def test_what_a_killed_process_left_is_cleared(file: Path) -> None:
    arrays.read_or_map(file, KEY, mmap_above=1000)
    (made,) = converted(file.parent)
    made.unlink()
    left = made.with_name(f".{made.name}.123.tmp")
    left.write_bytes(b"half")
    arrays.read_or_map(file, KEY, mmap_above=1000)
    assert not left.exists()


def test_an_array_of_our_own_is_checked_by_its_sum(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    npy.write(tmp_path / "a.npy", array.shape, iter([array.tobytes()[:7], array.tobytes()[7:]]))
    np.testing.assert_array_equal(npy.read(tmp_path / "a.npy", array.shape, mapped=False), array)
    assert npy.read(tmp_path / "a.npy", (3, 5, 4), mapped=False) is None
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[-20] ^= 1
    (tmp_path / "a.npy").write_bytes(content)
    assert npy.read(tmp_path / "a.npy", array.shape, mapped=False) is None
    with pytest.raises(ValueError, match="7 bytes written"):
        npy.write(tmp_path / "b.npy", array.shape, [array.tobytes()[:7]])
    assert not (tmp_path / "b.npy").exists()
