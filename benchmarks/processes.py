"""New processes: timed from start to end, or running the real command with a measuring script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def time_process(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[float, float, str]:
    """Return the wall and CPU time of a process in seconds, and its output.

    Raises:
        SystemExit: the process failed; the message ends with its output.
    """
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall_s, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s, cpu_s, done.stdout


def build_environment(folder: Path) -> dict[str, str]:
    """Return environment variables that keep W&B offline and the caches in this folder."""
    return os.environ | {"WANDB_MODE": "offline", "XDG_CACHE_HOME": str(folder / "cache")}


def run_watched(script: str, overrides: Sequence[str], folder: Path) -> Any:
    """Run the real command in a measuring script of this folder (such as parts.py) and return its measurements."""
    out = folder / f"{Path(script).stem}.json"
    command = [sys.executable, str(HERE / script), str(out), repr(time.time()), *overrides]
    time_process(command, folder, build_environment(folder))
    return json.loads(out.read_text(encoding="utf-8"))
