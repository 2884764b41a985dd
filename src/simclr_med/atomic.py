"""Whole files or none: what is written here survives a kill or a power cut as the old content or the new. A leaf."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], None], keep: Path | None = None) -> None:
    """Write beside path, flush to the disk, then rename over path.

    Args:
        path: the file to make or replace; its folder exists.
        write: fills the open file.
        keep: where the file that path held goes; None lets it go.

    Raises:
        OSError: of the disk (full, read-only), with path as its file; path is untouched then and nothing is left
            beside it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a failed write names no file, a failed open the one beside
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """`write_atomically` for bytes that are there already."""
    write_atomically(path, lambda file: _put(file, content))


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_atomically` for one JSON object."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed writes left anywhere under a folder that nobody writes to now."""
    for path in folder.rglob(".*.[0-9]*.tmp"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename inside folder durable (a folder's own fsync; Windows knows none)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _put(file: BinaryIO, content: bytes) -> None:
    file.write(content)
