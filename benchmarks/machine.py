"""The machine and the versions that a measurement belongs to."""

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
MAX_OTHER_CORES = 0.1  # load of other programs above which the measurements are unreliable


def describe_machine() -> dict[str, str | float]:
    """Return the processor, its cores and threads, the GPU and the load."""
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


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect speed; "absent" if not installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return versions


class OtherLoad:
    """Measures how many cores other programs use on average since its creation."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.monotonic(), _read_busy_s(), _read_own_s()

    def cores(self) -> float | None:
        """Return the number of cores; None where the system does not provide it (no /proc/stat)."""
        busy, elapsed = _read_busy_s(), time.monotonic() - self._began
        if busy is None or self._busy is None:
            return None
        return max(0.0, (busy - self._busy - (_read_own_s() - self._own)) / elapsed)


def _read_busy_s() -> float | None:
    """Return the CPU seconds of all programs on the machine."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, soft_irq = map(int, STAT.read_text(encoding="utf-8").split(maxsplit=8)[1:8])
    return (user + nice + system + irq + soft_irq) / os.sysconf("SC_CLK_TCK")


def _read_own_s() -> float:
    """Return the CPU seconds of this process and of its finished child processes."""
    return sum(os.times()[:4])


def print_header(console: Console) -> dict[str, dict[str, str | float]]:
    """Print and return the machine and the versions."""
    header: dict[str, dict[str, str | float]] = {"machine": describe_machine(), "versions": dict(list_versions())}
    for part in header.values():
        console.print("; ".join(f"{key} {value}" for key, value in part.items()), highlight=False, soft_wrap=True)
    return header
