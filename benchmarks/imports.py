"""Which packages the real command's start-up spends its time importing (Python's -X importtime)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from processes import environment
from rich.table import Table

LINE = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)$")
SHOWN_FROM_S = 0.05


def measure(words: Sequence[str], folder: Path) -> dict[str, float]:
    """Seconds that each package's own modules take to import in one run of the command with these words.

    Importtime itself makes imports somewhat slower. Raises SystemExit when the command fails.
    """
    command = [sys.executable, "-X", "importtime", "-m", "simclr_med.cli.main", *words]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with {done.returncode}:\n{done.stdout[-2000:]}")
    return by_package(done.stderr)


def by_package(printed: str) -> dict[str, float]:
    """Seconds of a package's own modules, the longest first; torch by its second names (``torch._dynamo``)."""
    own: defaultdict[str, float] = defaultdict(float)
    for line in printed.splitlines():
        found = LINE.match(line)
        if found:
            names = found[4].split(".")
            own[".".join(names[: 2 if names[0] == "torch" else 1])] += int(found[1]) / 1e6
    return dict(sorted(own.items(), key=lambda item: -item[1]))


def table(seconds: dict[str, float]) -> Table:
    """The packages worth a line, and the sum of all."""
    made = Table("package", "s", title="Imports of one run, each package's own modules (-X importtime slows them)")
    for name, value in seconds.items():
        if value >= SHOWN_FROM_S:
            made.add_row(name, f"{value:.2f}")
    made.add_section()
    made.add_row("all", f"{sum(seconds.values()):.2f}")
    return made
