"""Locks between processes. The system releases them when their process ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from simclr_med.errors import BusyError, RunError


@dataclass(frozen=True)
class HeldLock:
    """A lock file that this process locked. Child processes may check it too.

    Attributes:
        path: of the lock file.
        file_id: device and inode of the file that was locked; None when it was gone at once.
        folder: of the run, for the message.
    """

    path: Path
    file_id: tuple[int, int] | None
    folder: Path

    def is_held(self) -> bool:
        """Return whether the lock file is still the one that was locked; its removal lets other processes in."""
        return self.file_id is not None and _file_id(self.path) == self.file_id

    def check(self) -> None:
        """Raise RunError if the lock file was removed or replaced."""
        if not self.is_held():
            raise RunError(
                f"{self.folder}: the lock file {self.path} was removed during the run, so another process may work in "
                "this folder. This process stopped. Repeat the command to resume."
            )


@contextmanager
def hold_lock(path: Path, folder: Path, wait: bool = True) -> Iterator[HeldLock]:
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
    lock = FileLock(path)
    try:
        _acquire(lock, path.parent, timeout=0)
    except Timeout:
        if not wait:
            raise BusyError(f"{folder}: {_read_owner(owner)} is running this.") from None
        print(f"Waiting for {_read_owner(owner)}, which is running this: {folder}", flush=True)
        _acquire(lock, path.parent)
    held = HeldLock(path, _file_id(path), folder)
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield held
    finally:
        with suppress(OSError):  # the disk may have turned read-only; a stale .owner file does no harm
            if held.is_held():  # else it may be the file of the process that holds the lock now
                owner.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, folder: Path, timeout: float = -1) -> None:
    """Acquire the lock, also if its folder is removed meanwhile."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=timeout)
        except FileNotFoundError:
            continue
        return


def _file_id(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file, or None if it is missing."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _read_owner(owner: Path) -> str:
    """Return the text of the ``.owner`` file, which may be missing for a moment before and after a run."""
    try:
        return owner.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"
