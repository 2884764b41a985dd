"""Commands in processes forked from this one, which has imported everything: a command then takes about a second."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = ("pretrain", "supervised", "probe", "test", "predict", "analyse", "preview", "report")
OPENS_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {
    "os.rename": 1,
    "os.remove": 0,
    "os.mkdir": 0,
    "os.rmdir": 0,
    "os.truncate": 0,
}  # the argument that is changed
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
KINDS = ("kill", *ERRORS)


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code (a signal's negative) and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Point:
    """A change of the disk: the number of the change in its command, what it was, and the file."""

    number: int
    change: str
    file: str


class Injector:
    """Counts the changes that this process makes under a folder, and lets a fault befall one of them.

    A change is a file opened for writing, a flush to the disk, a renaming, a removal, or a new folder.

    Args:
        top: the folder.
        at: the number of the change that the fault befalls; None lets all pass.
        kind: ``kill``, or the name of an error.
        log: where the changes are written, one a line; None writes none.
    """

    def __init__(self, top: Path, at: int | None = None, kind: str = "", log: Path | None = None) -> None:
        self.top, self.at, self.kind = str(top), at, kind
        # Opened before the hook is there, and never through it.
        self.log = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.count = 0

    def install(self) -> None:
        flush = os.fsync

        def fsync(file: Any) -> None:
            descriptor = file if isinstance(file, int) else file.fileno()
            self.change("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            flush(file)

        os.fsync = fsync
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & OPENS_TO_WRITE:
                self.change("open", path)
        elif event in CHANGES:
            self.change(event.partition(".")[2], arguments[CHANGES[event]])

    def change(self, change: str, path: Any) -> None:
        if isinstance(path, int) or not os.fspath(path).startswith(self.top):  # type: ignore[arg-type]
            return
        number, self.count = self.count, self.count + 1
        if self.log is not None:
            os.write(self.log, f"{change}\t{os.fspath(path)[len(self.top) + 1 :]}\n".encode())
        if number != self.at:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(ERRORS[self.kind], os.strerror(ERRORS[self.kind]), os.fspath(path))


def warm_up() -> None:
    """Import what the commands need, into this process."""
    sys.argv[:] = ["simclr-med"]
    importlib.import_module("simclr_med.cli.hydra_app")
    for stage in STAGES:
        importlib.import_module(f"simclr_med.stages.{stage}")


def run(place: Path, words: Sequence[str], prepare: Callable[[], object] = lambda: None, timeout: float = 300) -> Ended:
    """Run a command in a fork.

    Args:
        place: the working folder, for what it says too.
        words: overrides.
        prepare: called in the fork before the command.
        timeout: seconds until it is killed.
    """
    said = [place / name for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        _become(place, words, prepare, said)
    deadline = time.monotonic() + timeout
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
        ended, status = os.waitpid(child, os.WNOHANG)
    out, err = (path.read_text(encoding="utf-8", errors="replace") for path in said)
    return Ended(os.waitstatus_to_exitcode(status), out, err)


def _become(place: Path, words: Sequence[str], prepare: Callable[[], object], said: Sequence[Path]) -> None:
    """Turn this fork into the command; never returns."""
    code = 99
    try:
        os.setsid()
        os.chdir(place)
        os.environ |= {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(place / "cache"), "WANDB_MODE": "offline"}
        for number, path in enumerate(said, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from simclr_med.cli.main import run_command

        prepare()
        code = run_command(list(words))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
