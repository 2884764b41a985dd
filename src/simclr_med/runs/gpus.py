"""GPUs for the workers of a parallel sweep: each worker takes one that no other has, before torch is imported."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_runtime_path

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: list[FileLock] = []  # to the end of this process


def claim_gpus(count: int) -> None:
    """Let this process see count GPUs that no other worker of this machine has; a second call changes nothing.

    With more workers than GPUs some must share: those then see all, dealt by the number of the process.

    Args:
        count: GPUs that one run uses.
    """
    devices = visible_gpus()
    if _held or not devices:
        return
    # A scheduler numbers the GPUs of each of its jobs anew.
    folder = user_runtime_path("simclr-med") / f"gpus-{os.environ.get('SLURM_JOB_ID', 'machine')}"
    folder.mkdir(parents=True, exist_ok=True)
    free: list[str] = []
    for device in devices:
        lock = FileLock(folder / f"{device.replace('/', '_')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held.append(lock)
        free.append(device)
        if len(free) == count:
            break
    if len(free) < count:
        start = os.getpid() % len(devices)
        free = (devices[start:] + devices[:start])[:count]
    os.environ[VISIBLE] = ",".join(free)


def visible_gpus() -> list[str]:
    """The GPUs of NVIDIA's that a process started now would see, by index or id, asked without torch."""
    told = os.environ.get(VISIBLE)
    if told is not None:
        return [word for word in told.split(",") if word and word != "-1"]
    driver = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(driver.iterdir())))] if driver.is_dir() else []
