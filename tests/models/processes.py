"""Runs a function in several gloo processes on this machine and returns what each of them returned."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_processes(world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``function(rank, world, *arguments)`` of every rank; function must be a module's own, and return tensors."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, args=(world, folder, function, arguments), nprocs=world)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _process(rank: int, world: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    try:
        torch.save(function(rank, world, *arguments), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
