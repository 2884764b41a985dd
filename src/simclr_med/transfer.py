"""Copies from the CPU to the device that a run computes on. A leaf."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return the values on the device; a copy to a GPU does not make the CPU wait for the GPU's earlier work.

    CUDA copies pageable memory only after the work queued before it, so the values go through pinned memory.
    """
    if device.type == "cuda" and values.device.type == "cpu" and values.numel():
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
