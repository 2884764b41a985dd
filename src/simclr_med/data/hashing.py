"""Digests of files, cached by path and stamp, so that a second start reads no data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

from simclr_med.atomic import write_json
from simclr_med.data.file_errors import describe_read_error
from simclr_med.safe_files import check_regular, open_regular

BLOCK = 1 << 20  # bytes read at a time
LOCK_TIMEOUT_S = 10.0  # seconds


def hash_file(algorithm: Literal["sha256", "md5"], file: Path) -> str:
    """Return the hex digest of a file's bytes; the file is read only if its stamp changed.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        check_regular(file)
        stamp = read_stamp(file)
        return cached_digest(f"{algorithm}:{file.absolute()}", stamp, lambda: _compute_digest(algorithm, file))
    except OSError as error:
        raise describe_read_error(file, error) from error


def read_stamp(file: Path) -> str:
    """Return a text that changes with a file's content: its size, modification time, change time and inode.

    Another content can have the same size and modification time (``cp -p``, ``touch -r``), but no program can set the
    change time.
    """
    return format_stamp(file.stat())


def format_stamp(stat: os.stat_result) -> str:
    """Return the stamp of `read_stamp` for a file's status."""
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}-{stat.st_ctime_ns:x}-{stat.st_ino:x}"


def cached_digest(key: str, stamp: str, compute: Callable[[], str]) -> str:
    """Return the digest that was computed for a key and a stamp, in this process or an earlier one.

    Args:
        key: what the digest belongs to.
        stamp: a text that changes when the digest must be computed again.
        compute: computes the digest. If the cache cannot be written (a read-only home), every call computes.
    """
    entry = _load_cache().get(key)
    if entry is not None and entry[0] == stamp:
        return entry[1]
    digest = compute()
    _save_entry(key, stamp, digest)
    return digest


def _cache_file() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("simclr-med") / "hashes.json"


def _load_cache() -> dict[str, list[str]]:
    """Return the whole cache; empty if it is missing or damaged, since every digest can be computed again."""
    try:
        content = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_intact = isinstance(content, dict) and all(map(_is_entry, content.values()))
    return content if is_intact else {}


def _is_entry(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)


def _save_entry(key: str, stamp: str, digest: str) -> None:
    from filelock import FileLock

    cache = _cache_file()
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
            write_json(cache, {**_load_cache(), key: [stamp, digest]})
    except OSError:  # read-only, full or locked for too long: the next start computes the digest again
        return


def digest_stream(algorithm: str, stream: BinaryIO) -> str:
    """Return the hex digest of what an open file holds from here on."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while block := stream.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _compute_digest(algorithm: str, file: Path) -> str:
    with open_regular(file) as stream:
        return digest_stream(algorithm, stream)
