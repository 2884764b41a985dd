"""Digests of files, remembered by path, length and time of change, so that a second start reads no data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from simclr_med.atomic import write_json
from simclr_med.errors import DataError

BLOCK = 1 << 20
LOCK_TIMEOUT_S = 10.0


def hash_file(algorithm: Literal["sha256", "md5"], file: Path) -> str:
    """The hex digest of a file's bytes, computed anew only when its length or time of change is another.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        stat = file.stat()
        stamp = f"{stat.st_size}-{stat.st_mtime_ns}"
        return cached_digest(f"{algorithm}:{file.absolute()}", stamp, lambda: _digest(algorithm, file))
    except FileNotFoundError as error:
        raise DataError(f"{file}: must exist. Check the path.") from error
    except IsADirectoryError as error:
        raise DataError(f"{file}: must be a file, not a folder. Check the path.") from error
    except OSError as error:
        raise DataError(f"{file}: must be a readable file ({error.strerror}). Check path and rights.") from error


def cached_digest(key: str, stamp: str, compute: Callable[[], str]) -> str:
    """The value computed for key under this stamp, now or in an earlier process.

    Args:
        key: what the value belongs to.
        stamp: changes when the value must be computed again.
        compute: gives the value. Where the cache cannot be written (a read-only home), it is called each time.
    """
    entry = _load().get(key)
    if entry is not None and entry[0] == stamp:
        return entry[1]
    value = compute()
    _store(key, stamp, value)
    return value


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("simclr-med") / "hashes.json"


def _load() -> dict[str, list[str]]:
    """The whole cache; empty when it is missing or damaged, for it can be computed again."""
    try:
        content = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and all(map(_is_entry, content.values())) else {}


def _is_entry(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)


def _store(key: str, stamp: str, value: str) -> None:
    from filelock import FileLock

    cache = _cache()
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
            write_json(cache, {**_load(), key: [stamp, value]})
    except OSError:  # read-only, full, or a lock that nobody gives back: the value is computed again next time
        return


def _digest(algorithm: str, file: Path) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(file, "rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
