"""Fresh processes: timed from before their start to after their end, or the real command with something watching."""

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


def whole_process(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[float, float, str]:
    """Wall and CPU time in seconds of a process from before its start to after its end, and what it printed.

    Raises:
        SystemExit: it failed; the message ends with its last words.
    """
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall_s, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s, cpu_s, done.stdout


def environment(folder: Path) -> dict[str, str]:
    """Logs stay on this machine, and what is kept between runs (hashes, fonts) is kept in folder."""
    return os.environ | {"WANDB_MODE": "offline", "XDG_CACHE_HOME": str(folder / "cache")}


def watched(script: str, words: Sequence[str], folder: Path) -> Any:
    """What a script of this folder (parts.py, ...) noted while it ran the real command with these words."""
    out = folder / f"{Path(script).stem}.json"
    command = [sys.executable, str(HERE / script), str(out), repr(time.time()), *words]
    whole_process(command, folder, environment(folder))
    return json.loads(out.read_text(encoding="utf-8"))
