"""One process at a time: locks that are gone with the process that holds them, and that tell who it is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from simclr_med.errors import BusyError


@contextmanager
def hold_lock(path: Path, folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock at path until the block ends; wait, and say so, while another process holds it.

    The lock is the system's own: a file that a dead process left, or another one with its number, holds nothing.

    Args:
        path: of the lock file; beside it, ``.owner`` tells who holds it.
        folder: what the lock is for, in the message.
        wait: false: raise while another process holds it.

    Raises:
        BusyError: another process holds it, and nobody is to wait.
        OSError: of the disk, before the block begins.
    """
    owner = path.with_suffix(".owner")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise BusyError(f"{folder}: {_told(owner)} is doing this run.") from None
        print(f"Waiting for {_told(owner)}, which is doing this run: {folder}", flush=True)
        lock.acquire()
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # of a disk that went read-only meanwhile: a name left behind does no harm
            owner.unlink(missing_ok=True)
        lock.release()


def _told(owner: Path) -> str:
    """Who holds a lock, as it wrote it down; it may not have got to that, or be done just now."""
    try:
        return owner.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"
