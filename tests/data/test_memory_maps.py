"""Large arrays of an .npz file as memory maps."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from simclr_med.data import arrays, memory_maps, npy
from simclr_med.errors import DataError

KEY = "train_images"


@pytest.fixture
def file(tmp_path: Path, make_arrays) -> Path:
    np.savez_compressed(tmp_path / "big.npz", **make_arrays(size=64))
    return tmp_path / "big.npz"


@pytest.fixture
def images(make_arrays) -> np.ndarray:
    return make_arrays(size=64)[KEY]


def list_unpacked(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_large_array_is_mapped_from_a_file_beside_the_npz(file: Path, images) -> None:
    found = memory_maps.read_or_map(file, KEY, mmap_above=1000)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, images)
    (unpacked,) = list_unpacked(file.parent)
    assert unpacked.parent == file.parent / ".simclr_med"
    np.testing.assert_array_equal(np.load(unpacked, allow_pickle=False), images)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_small_array_is_read_into_memory(file: Path, images) -> None:
    found = memory_maps.read_or_map(file, KEY, mmap_above=images.nbytes)
    assert not isinstance(found, np.memmap)
    assert not list_unpacked(file.parent)


def test_array_is_unpacked_once(file: Path, monkeypatch) -> None:
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    monkeypatch.setattr(npy, "write", lambda *_: pytest.fail("unpacked again"))
    memory_maps.read_or_map(file, KEY, mmap_above=1000)


def test_eight_threads_unpack_once(file: Path, images, monkeypatch) -> None:
    calls, write = [], npy.write
    monkeypatch.setattr(npy, "write", lambda *args: calls.append(1) or write(*args))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: memory_maps.read_or_map(file, KEY, mmap_above=1000), range(8)))
    assert all((f == images).all() for f in found)
    assert len(calls) == 1


def test_changed_file_is_unpacked_again_and_replaces_the_old_array(file: Path, images) -> None:
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    (before,) = list_unpacked(file.parent)
    np.savez_compressed(file, train_images=255 - images)
    os.utime(file, ns=(1, 1))
    np.testing.assert_array_equal(memory_maps.read_or_map(file, KEY, mmap_above=1000), 255 - images)
    (after,) = list_unpacked(file.parent)
    assert before != after


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda b: b[:-50], lambda b: b + b"x", lambda b: b"garbage", lambda b: b""),
        *(lambda b: b[:-90] + bytes([b[-90] ^ 1]) + b[-89:], lambda b: b.replace(b"|u1", b"|i1")),
    ],
)
def test_damaged_unpacked_array_is_replaced(file: Path, images, damage, capsys) -> None:
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    (unpacked,) = list_unpacked(file.parent)
    content = unpacked.read_bytes()
    unpacked.unlink()  # a new file, since this process still maps the old one
    unpacked.write_bytes(damage(content))
    capsys.readouterr()
    np.testing.assert_array_equal(memory_maps.read_or_map(file, KEY, mmap_above=1000), images)
    assert capsys.readouterr().err == f"{unpacked}: damaged file; unpacking the array again.\n"
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    assert capsys.readouterr().err == ""


def test_a_mapped_array_is_checked_once(file: Path, monkeypatch) -> None:
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    monkeypatch.setattr(npy, "_compute_crc", lambda *_: pytest.fail("checked again"))
    memory_maps.read_or_map(file, KEY, mmap_above=1000)


def test_other_content_of_the_same_size_and_time_is_unpacked_again(file: Path, images) -> None:
    np.savez(file, train_images=images)
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    before = file.stat()
    np.savez(file.with_name("other.npz"), train_images=255 - images)
    os.utime(file.with_name("other.npz"), ns=(before.st_atime_ns, before.st_mtime_ns))
    file.with_name("other.npz").rename(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    np.testing.assert_array_equal(memory_maps.read_or_map(file, KEY, mmap_above=1000), 255 - images)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_read_only_folder_falls_back_to_the_cache(file: Path, images, cache: Path, monkeypatch, code) -> None:
    mkdir = Path.mkdir

    def refuse(self: Path, *args, **kwargs) -> None:
        if self == file.parent / ".simclr_med":
            raise OSError(code, os.strerror(code), str(self))
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    np.testing.assert_array_equal(memory_maps.read_or_map(file, KEY, mmap_above=1000), images)
    assert len(list_unpacked(cache)) == 1
    assert not (file.parent / ".simclr_med").exists()


def test_full_disk_is_an_error_and_leaves_no_file(file: Path, monkeypatch, cache: Path) -> None:
    def full(path: Path, shape: tuple[int, ...], blocks) -> None:
        npy_write(path, shape, (block if i == 0 else fail() for i, block in enumerate(blocks)))

    def fail() -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    npy_write = npy.write
    monkeypatch.setattr(arrays, "BLOCK", 1000)
    monkeypatch.setattr(npy, "write", full)
    with pytest.raises(DataError, match=r"No space left on device.*Free disk space") as error:
        memory_maps.read_or_map(file, KEY, mmap_above=1000)
    assert len(error.value.problems) == 1
    assert not [p for folder in (file.parent, cache) for p in folder.rglob("*") if p.suffix in (".npy", ".tmp")]


def test_lack_of_disk_space_is_an_error_before_writing(file: Path, monkeypatch) -> None:
    monkeypatch.setattr(memory_maps.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    monkeypatch.setattr(npy, "write", lambda *_: pytest.fail("wrote"))
    with pytest.raises(DataError, match="No space left"):
        memory_maps.read_or_map(file, KEY, mmap_above=1000)


def test_damaged_zip_leaves_no_unpacked_array(file: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[3000] ^= 255
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"not an intact .npz file"):
        memory_maps.read_or_map(file, KEY, mmap_above=1000)
    assert not list_unpacked(file.parent)
    assert not list(file.parent.rglob("*.tmp"))


def test_unfinished_files_of_a_killed_process_are_removed(file: Path) -> None:
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    (unpacked,) = list_unpacked(file.parent)
    unpacked.unlink()
    left = unpacked.with_name(f".{unpacked.name}.123.tmp")
    left.write_bytes(b"half")
    memory_maps.read_or_map(file, KEY, mmap_above=1000)
    assert not left.exists()
