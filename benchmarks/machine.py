"""What a figure holds for: the machine and the versions."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console

PACKAGES = ("simclr-med", "torch", "torchvision", "lightning", "lightly", "wandb", "numpy", "pillow", "pillow-simd")
STAT = Path("/proc/stat")


def machine() -> dict[str, str | float]:
    """What the rates hold for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "torch_threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "load_at_start": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown",
    }


def versions() -> dict[str, str]:
    """Python and the packages that bear on speed; "absent" is an answer (pillow-simd)."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


class Others:
    """How many cores other programs keep busy, on average since this was made."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _busy_s(), _own_s()

    def cores(self) -> float | None:
        """Below about 0.1 the machine is quiet; None where the system does not tell (no /proc/stat)."""
        busy, elapsed = _busy_s(), time.monotonic() - self._began
        if busy is None or self._busy is None:
            return None
        return max(0.0, (busy - self._busy - (_own_s() - self._own)) / elapsed)


def _busy_s() -> float | None:
    """CPU seconds that the whole machine has worked."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, soft_irq = map(int, STAT.read_text(encoding="utf-8").split(maxsplit=8)[1:8])
    return (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """CPU seconds of this process and of all that it has started and seen the end of."""
    return sum(os.times()[:4])


def header(console: Console) -> dict[str, dict[str, str | float]]:
    """Print and return both."""
    told: dict[str, dict[str, str | float]] = {"machine": machine(), "versions": dict(versions())}
    for part in told.values():
        console.print("; ".join(f"{key} {value}" for key, value in part.items()), highlight=False, soft_wrap=True)
    return told
