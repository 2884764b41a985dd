"""Locks between processes. The system releases them when their process ends."""

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
    """Hold the lock at path until the block ends. Print a line while waiting for another process.

    Stale lock files and recycled process ids do not block.

    Args:
        path: of the lock file; the ``.owner`` file beside it names the process that holds the lock.
        folder: of the run, for the message.
        wait: False raises BusyError instead of waiting.

    Raises:
        BusyError: another process holds the lock and wait is False.
        OSError: the lock file cannot be written.
    """
    owner = path.with_suffix(".owner")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise BusyError(f"{folder}: {_read_owner(owner)} is running this.") from None
        print(f"Waiting for {_read_owner(owner)}, which is running this: {folder}", flush=True)
        lock.acquire()
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # the disk may have turned read-only; a stale .owner file does no harm
            owner.unlink(missing_ok=True)
        lock.release()


def _read_owner(owner: Path) -> str:
    """Return the text of the ``.owner`` file, which may be missing for a moment before and after a run."""
    try:
        return owner.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"
