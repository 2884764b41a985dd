"""Atomic writes: after a kill or a power cut, a file has either its old content or its new one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY = ".*.[0-9]*.tmp"  # the names of temporary files, as a glob


def write_atomically(path: Path, write: Callable[[BinaryIO], None], keep: Path | None = None) -> None:
    """Write a temporary file in the same folder, flush it to disk, then rename it to path.

    Args:
        path: the file to create or replace; its folder exists.
        write: writes to the open file.
        keep: new name of the file that path had before; None deletes it.

    Raises:
        OSError: the disk is full or read-only. Names path, which is unchanged; no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write names no file, and a failed open the temporary one
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    write_atomically(path, lambda file: _put(file, content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def remove_temporary_files(folder: Path) -> None:
    """Delete the temporary files of interrupted writes under a folder. No other process may write there."""
    for path in folder.rglob(TEMPORARY):
        path.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Delete temporary files that killed processes left of this file. No other process may write it now."""
    for unfinished in path.parent.glob(f".{path.name}.*.tmp"):
        unfinished.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a rename inside a folder to disk. Windows has no fsync for folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content: 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _put(file: BinaryIO, content: bytes) -> None:
    file.write(content)
