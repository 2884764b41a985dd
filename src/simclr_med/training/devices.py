"""What depends on the machine: precision and several processes."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

import simclr_med
from simclr_med.errors import RunError


def resolve_precision(requested: str, accelerator: str) -> str:
    """Lightning's precision flag: ``auto`` is bf16 on a GPU that has it, else float32."""
    if requested != "auto":
        return requested
    has_bf16 = resolve_device(accelerator).type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if has_bf16 else "32-true"


def resolve_device(accelerator: str) -> torch.device:
    """The device that Lightning's flag leads to on this machine; of several GPUs, the first.

    Raises:
        RunError: it is not there.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if accelerator not in ("auto", "cpu"):
        raise RunError(f"trainer.accelerator={accelerator}: must be there; torch finds none. Use trainer=auto or cpu.")
    return torch.device("cpu")


def numerics_environment(where: torch.device, processes: int) -> dict[str, Any]:
    """What float rounding depends on, and so the bits of a run's weights."""
    return {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),  # a class of its own, which a safe load refuses
        "lightning": lightning.__version__,
        "simclr_med": simclr_med.__version__,
    }


def spawn_ddp() -> DDPStrategy:
    """Data-parallel training in spawned processes.

    Lightning's default launcher would start the command line again, which inside a sweep starts a second sweep; and
    in a SLURM job of one task it would wait for tasks that never come.
    """
    return DDPStrategy(start_method="spawn", cluster_environment=LightningEnvironment())
