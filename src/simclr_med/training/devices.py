"""What depends on the machine: precision and several processes."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

import simclr_med
from simclr_med.errors import RunError

# Hints for authors of Lightning scripts. Users of this program can do nothing about them.
_NOISE = (
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*You defined a `validation_step`.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*torch.distributed.*is deprecated.*",
    r".*LeafSpec.*",
    r".*The `srun` command is available.*",
)


class QuietDDPStrategy(DDPStrategy):
    """Data-parallel training whose processes filter the same messages as the process that started them."""

    def setup_environment(self) -> None:
        # The first call inside a spawned process; it prints Lightning's banner.
        silence_lightning()
        super().setup_environment()


def silence_lightning() -> None:
    """Filter Lightning's hints and banner in this process."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)


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
    """Build the strategy for data-parallel training in spawned processes.

    Lightning's default launcher repeats the command line, which starts a second sweep inside a sweep. In a SLURM job
    of one task it waits for tasks that never start.
    """
    return QuietDDPStrategy(start_method="spawn", cluster_environment=LightningEnvironment())
