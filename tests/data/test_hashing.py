"""Digests of files and their cache."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simclr_med.data import hashing
from simclr_med.data.hashing import cached_digest, hash_file, read_stamp
from simclr_med.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(b"content")
    return tmp_path / "a.bin"


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_hash_file_returns_the_digest(file: Path, algorithm) -> None:
    assert hash_file(algorithm, file) == hashlib.new(algorithm, b"content").hexdigest()


def test_unchanged_file_is_read_once(file: Path, monkeypatch) -> None:
    first = hash_file("sha256", file)
    monkeypatch.setattr(hashing, "_compute_digest", lambda *_: pytest.fail("read again"))
    assert hash_file("sha256", file) == first


@pytest.mark.parametrize("change", ["length", "time"])
def test_changed_file_is_read_again(file: Path, change) -> None:
    hash_file("sha256", file)
    file.write_bytes(b"longer content" if change == "length" else b"CONTENT")
    os.utime(file, ns=(5, 5))
    assert hash_file("sha256", file) == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("change", ["in place", "replaced"])
def test_other_content_of_the_same_size_and_time_is_read_again(file: Path, change: str) -> None:
    hash_file("sha256", file)
    before = file.stat()
    time.sleep(0.02)  # longer than a tick of the clock of a file system
    other = file if change == "in place" else file.with_name("other")
    other.write_bytes(b"CONTENT")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert hash_file("sha256", file) == hashlib.sha256(b"CONTENT").hexdigest()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 1}', "\x00"])
def test_damaged_cache_is_replaced(file: Path, cache: Path, damage) -> None:
    first = hash_file("sha256", file)
    (cache / "hashes.json").write_text(damage)
    assert hash_file("sha256", file) == first
    assert cached_digest(f"sha256:{file}", read_stamp(file), lambda: "new") == first


def test_read_only_home_works_without_a_cache(file: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "no folder").touch()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "no folder" / name)
    for _ in range(2):
        assert hash_file("sha256", file) == hashlib.sha256(b"content").hexdigest()


def test_concurrent_entries_are_all_kept() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cached_digest(f"key{i}", "now", lambda: str(i)), range(24)))
    assert [cached_digest(f"key{i}", "now", lambda: "forgotten") for i in range(24)] == [str(i) for i in range(24)]


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.npz: file not found"):
        hash_file("md5", tmp_path / "none.npz")
