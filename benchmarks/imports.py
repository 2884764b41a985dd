"""Import time of each package at the start of the real command (Python's -X importtime)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from processes import build_environment
from rich.table import Table

LINE = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)$")
SHOWN_FROM_S = 0.05


def measure(overrides: Sequence[str], folder: Path) -> dict[str, float]:
    """Return the seconds that each package's own modules take to import in one run of the command.

    The measurement itself makes imports slower.

    Raises:
        SystemExit: the command failed.
    """
    command = [sys.executable, "-X", "importtime", "-m", "simclr_med.cli.main", *overrides]
    done = subprocess.run(command, cwd=folder, env=build_environment(folder), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with {done.returncode}:\n{done.stdout[-2000:]}")
    return sum_by_package(done.stderr)


def sum_by_package(printed: str) -> dict[str, float]:
    """Return the seconds of each package's own modules, longest first; torch by subpackage (``torch._dynamo``)."""
    own: defaultdict[str, float] = defaultdict(float)
    for line in printed.splitlines():
        match = LINE.match(line)
        if match:
            names = match[4].split(".")
            own[".".join(names[: 2 if names[0] == "torch" else 1])] += int(match[1]) / 1e6
    return dict(sorted(own.items(), key=lambda item: -item[1]))


def build_table(seconds: dict[str, float]) -> Table:
    """Return the slowest packages and the sum of all."""
    table = Table("package", "s", title="Imports of one run, own modules of each package (slowed by -X importtime)")
    for name, value in seconds.items():
        if value >= SHOWN_FROM_S:
            table.add_row(name, f"{value:.2f}")
    table.add_section()
    table.add_row("all", f"{sum(seconds.values()):.2f}")
    return table
