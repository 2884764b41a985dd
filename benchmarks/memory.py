"""Peak memory of the processes that this one starts, read from /proc while they run."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

PROC = Path("/proc")
INTERVAL_S = 0.1  # seconds between two readings


class Peaks(NamedTuple):
    """Peak memory in bytes; 0 if the system does not provide it.

    Attributes:
        largest: anonymous memory (RssAnon) of the process with the highest peak.
        together: anonymous memory of all processes at one time.
        resident: resident memory, with the pages of mapped files (VmHWM), of the process with the highest peak.
    """

    largest: int
    together: int
    resident: int


class MemoryWatch:
    """Context manager that reads the memory of all descendants of this process in a thread, into `peaks`."""

    def __init__(self) -> None:
        self.peaks = Peaks(0, 0, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            found = [read_memory(pid) for pid in list_descendants(os.getpid())]
            anonymous, resident = [anon for anon, _ in found], [most for _, most in found]
            now = Peaks(max(anonymous, default=0), sum(anonymous), max(resident, default=0))
            self.peaks = Peaks(*map(max, self.peaks, now))


def list_descendants(pid: int) -> list[int]:
    """Return the children of a process, their children, and so on; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):  # it ended meanwhile
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(pid, ()))
    for child in found:
        found += children.get(child, ())
    return found


def read_memory(pid: int) -> tuple[int, int]:
    """Return RssAnon and VmHWM of a process in bytes; 0 where they are not provided."""
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "VmHWM"))}
    return sizes.get("RssAnon", 0), sizes.get("VmHWM", 0)
