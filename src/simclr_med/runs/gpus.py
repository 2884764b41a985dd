"""GPUs of the workers of a parallel sweep: each worker claims free ones before torch is imported."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_runtime_path

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Holds the id of the process that claimed what VISIBLE lists. Child processes inherit both and have another id.
CLAIMED_BY = "SIMCLR_MED_GPUS_CLAIMED_BY"


def claim_gpus(count: int) -> None:
    """Set CUDA_VISIBLE_DEVICES to count GPUs that no other worker of this machine uses.

    The claim lasts until the process ends: CUDA reads the variable once. A second call changes nothing. When there are
    more workers than GPUs, the workers share them.

    Args:
        count: GPUs of one run.
    """
    devices = visible_gpus()
    if not devices or os.environ.get(CLAIMED_BY) == str(os.getpid()):
        return
    # A scheduler numbers the GPUs of each of its jobs from 0.
    folder = user_runtime_path("simclr-med") / f"gpus-{os.environ.get('SLURM_JOB_ID', 'machine')}"
    folder.mkdir(parents=True, exist_ok=True)
    free: list[str] = []
    for device in devices:
        lock = FileLock(folder / f"{device.replace('/', '_')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        atexit.register(lock.release)  # keeps the lock, which releases itself when nothing refers to it
        free.append(device)
        if len(free) == count:
            break
    if len(free) < count:
        start = os.getpid() % len(devices)
        free = (devices[start:] + devices[:start])[:count]
    os.environ[VISIBLE] = ",".join(free)
    os.environ[CLAIMED_BY] = str(os.getpid())


def visible_gpus() -> list[str]:
    """Return the index or id of each NVIDIA GPU that this process may use. Does not import torch."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return [device for device in visible.split(",") if device and device != "-1"]
    driver = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(driver.iterdir())))] if driver.is_dir() else []
