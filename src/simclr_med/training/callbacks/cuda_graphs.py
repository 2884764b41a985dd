"""An encoder whose training steps run as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from simclr_med.errors import RunError

Forward = Callable[[Tensor], Tensor]


class CudaGraphs(Callback):
    """Records the encoder's forward and backward pass in the first training step and replays them afterwards.

    Small images leave a GPU waiting for Python; a replay starts all operations at once. Evaluation, weights and state
    dict stay as they are.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        encoder: Any = pl_module.encoder
        if pl_module.device.type != "cuda":
            raise RunError("trainer.cuda_graphs=true: needs a GPU. Set trainer.cuda_graphs=false.")
        encoder.forward = record_forward(encoder)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        vars(pl_module.encoder).pop("forward", None)


def record_forward(encoder: nn.Module) -> Forward:
    """Return the encoder's forward pass; training steps replay CUDA graphs that the first one records."""
    eager = encoder.forward
    recorded: dict[torch.Size, Forward] = {}

    def forward(images_BCHW: Tensor) -> Tensor:
        if not _is_training(encoder):
            return eager(images_BCHW)
        if not recorded:
            recorded[images_BCHW.shape] = _record(encoder, eager, images_BCHW)
        return recorded.get(images_BCHW.shape, eager)(images_BCHW)

    return forward


class _Callable(nn.Module):
    """The encoder's forward pass as a module with its parameters, but without its hooks."""

    def __init__(self, encoder: nn.Module, run: Forward) -> None:
        super().__init__()
        self.encoder = encoder
        self.run = run

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.run(images_BCHW)


def _record(encoder: nn.Module, eager: Forward, images_BCHW: Tensor) -> Forward:
    """Record forward and backward pass for this shape. Its warm-up passes leave the encoder's buffers as they were."""
    before = [buffer.clone() for buffer in encoder.buffers()]
    half = torch.get_autocast_dtype("cuda")
    with torch.autocast("cuda", half, enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False):
        graphed: Any = torch.cuda.make_graphed_callables(_Callable(encoder, eager), (images_BCHW.clone(),))
    with torch.no_grad():
        for buffer, value in zip(encoder.buffers(), before, strict=True):
            buffer.copy_(value)
    return graphed  # type: ignore[no-any-return]


def _is_training(encoder: nn.Module) -> bool:
    return encoder.training and torch.is_grad_enabled()
