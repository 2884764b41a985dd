"""Disks that are small, full or read-only, mounted for the time of a block. Root ignores permissions, not mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def unavailable() -> str | None:
    """Why no disk can be mounted here, or None."""
    if not sys.platform.startswith("linux"):
        return "mounts a tmpfs, which Linux has"
    if os.geteuid() != 0:
        return "mounting needs root"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    return None if done.returncode == 0 else "this root may not mount"


@contextmanager
def small(place: Path, options: str) -> Iterator[Path]:
    """An empty tmpfs with options as ``size=64k`` or ``nr_inodes=9``; `remounted` changes them."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def remounted(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """The folder, read-only for as long as the block lasts."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
