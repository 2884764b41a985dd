"""Device, precision and number of processes of a run."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

import simclr_med
from simclr_med.errors import RunError
from simclr_med.runs.connection import cluster_environment
from simclr_med.runs.launch import Launch

# Lightning's hints to the author of a script; a user of the command line cannot act on them.
_NOISE = (
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*You passed in a `val_dataloader` but have no `validation_step`.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*torch.distributed.*is deprecated.*",
    r".*LeafSpec.*",
    r".*The `srun` command is available.*",
    # The gradient of a 1x1 convolution that several micro-batches share has other strides, which changes nothing.
    r".*Grad strides do not match bucket view strides.*",
)


class QuietDDPStrategy(DDPStrategy):
    """Data-parallel training whose processes filter the same messages as the process that started them."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A spawned process unpickles its strategy before it runs anything of Lightning.
        silence_lightning()
        self.__dict__.update(state)


def silence_lightning() -> None:
    """Filter Lightning's hints and banner in this process."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)


class Arithmetic(Callback):
    """Sets threads and GPU arithmetic in each process that trains, since new processes start with the defaults.

    Args:
        precision: as in `set_gpu_arithmetic`.
        threads: of each process on the CPU; None leaves the number as it is.
    """

    def __init__(self, precision: str, threads: int | None) -> None:
        self.precision, self.threads = precision, threads

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        set_gpu_arithmetic(self.precision)
        if self.threads is not None:  # Lightning sets another number where it starts several processes
            torch.set_num_threads(self.threads)


def set_gpu_arithmetic(precision: str) -> None:
    """Make a GPU compute float32 without TF32 and repeat its results bit by bit; the CPU ignores both settings.

    torch's defaults round the inputs of a float32 convolution to TF32, and let cuDNN add in an order that changes from
    call to call. ``precision=tf32`` allows TF32 in convolutions. Matrix products never use it, since the augmentation
    and the loss need exact ones.
    """
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.deterministic = True


def describe_device(device: torch.device) -> str:
    """Return the name of the GPU, or the type of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def name_precision(requested: str, accelerator: str) -> str:
    """Return the precision that a run computes in, as a user would ask for it."""
    if requested == "tf32" and resolve_device(accelerator).type == "cuda":
        return requested
    return resolve_precision(requested, accelerator)


def resolve_precision(requested: str, accelerator: str) -> str:
    """Return Lightning's precision flag: ``auto`` is bf16-mixed where the device computes bfloat16, else float32.

    On a CPU, Lightning computes ``16-mixed`` in bfloat16.
    """
    if requested == "tf32":
        return "32-true"
    if requested == "16-mixed" and resolve_device(accelerator).type == "cpu":
        return "bf16-mixed"
    if requested != "auto":
        return requested
    return "bf16-mixed" if _has_bf16(resolve_device(accelerator)) else "32-true"


def _has_bf16(device: torch.device) -> bool:
    """Whether products of bfloat16 are faster than those of float32.

    A CPU needs AVX512_BF16 or AMX, and ``ONEDNN_MAX_CPU_ISA`` can switch it off in oneDNN. Every CPU with AMX
    has AVX512_BF16.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":
        return False
    is_native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # since torch 2.6
    return is_native is not None and is_native() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def resolve_device(accelerator: str) -> torch.device:
    """Return the device that Lightning's flag selects on this machine; the first of several GPUs.

    Raises:
        RunError: the machine has no such device.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if accelerator not in ("auto", "cpu"):
        raise RunError(f"trainer.accelerator={accelerator}: no such device found. Use trainer=auto or trainer=cpu.")
    return torch.device("cpu")


def numerics_environment(where: torch.device, processes: int, precision: str) -> dict[str, Any]:
    """Return the settings that floating-point rounding depends on, and with it the bits of a run's weights.

    Args:
        where: the device.
        processes: that train together.
        precision: as `name_precision` returns it.
    """
    return {
        "precision": precision,
        "device": describe_device(where),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),  # torch.__version__ is no plain str, and weights_only loading refuses it
        "lightning": lightning.__version__,
        "simclr_med": simclr_med.__version__,
    }


def launched_ddp(launch: Launch) -> DDPStrategy:
    """Return the strategy for data-parallel training in the processes that srun or torchrun started."""
    return QuietDDPStrategy(cluster_environment=cluster_environment(launch))


def spawn_ddp() -> DDPStrategy:
    """Return the strategy for data-parallel training in spawned processes.

    Lightning's default launcher starts the command line again, which starts a second sweep inside a sweep. In a SLURM
    job of one task it waits for tasks that do not exist.
    """
    return QuietDDPStrategy(start_method="spawn", cluster_environment=LightningEnvironment())
