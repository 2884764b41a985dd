"""Batch normalisation with the statistics of the global batch, on any device.

On CUDA that is ``torch.nn.SyncBatchNorm``, which refuses the CPU. Elsewhere each process gathers every process's
count, mean and sum of squared deviations in one collective and merges them (Chan, Golub and LeVeque 1979), which does
not cancel as a sum of squares does. The backward pass adds its two sums over the processes (Ioffe and Szegedy, arXiv
1502.03167, section 3).
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from simclr_med.errors import ConfigError
from simclr_med.models.encoders import Encoder


class SyncedBatchNorm1d(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` over the global batch while training in several processes; else ``nn.BatchNorm1d``."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise float [B, C] or [B, C, L]; every process must call it equally often."""
        return _normalize(self, input) if _is_distributed(self) else super().forward(input)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` over the global batch while training in several processes; else ``nn.BatchNorm2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise float [B, C, H, W]; every process must call it equally often."""
        return _normalize(self, input) if _is_distributed(self) else super().forward(input)


def convert_sync_batchnorm(module: nn.Module | Encoder, device_type: str) -> nn.Module:
    """Replace every batch norm inside a module by a synchronised one, in place.

    Parameters and buffers stay the same objects.

    Args:
        module: of any kind.
        device_type: where it will be trained: ``cuda`` gives ``torch.nn.SyncBatchNorm``, any other device our layers.

    Returns:
        the module, or its replacement where it is itself a batch norm.

    Raises:
        ConfigError: a batch norm of another library, which does more than normalise.
    """
    module = cast(nn.Module, module)
    _refuse_other_kinds(module)
    if device_type == "cuda":
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(module))
    return _convert(module)


def _refuse_other_kinds(module: nn.Module) -> None:
    kinds = {type(child) for child in module.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm)}
    known = {nn.BatchNorm1d, nn.BatchNorm2d, SyncedBatchNorm1d, SyncedBatchNorm2d, nn.SyncBatchNorm}
    if kinds - known:
        name = min(kind.__name__ for kind in kinds - known)
        raise ConfigError(
            f"trainer.devices: the encoder's {name} cannot be synchronised between processes. Use trainer.devices=1, "
            "or an encoder without batch normalisation."
        )


def _convert(module: nn.Module) -> nn.Module:
    if type(module) is nn.BatchNorm1d:
        return _replace(module, SyncedBatchNorm1d)
    if type(module) is nn.BatchNorm2d:
        return _replace(module, SyncedBatchNorm2d)
    for name, child in module.named_children():
        setattr(module, name, _convert(child))
    return module


def _replace(
    old: nn.BatchNorm1d | nn.BatchNorm2d, kind: type[SyncedBatchNorm1d] | type[SyncedBatchNorm2d]
) -> nn.Module:
    new = kind(old.num_features, old.eps, old.momentum, affine=False, track_running_stats=False)
    new.affine, new.track_running_stats = old.affine, old.track_running_stats
    for name, parameter in old._parameters.items():
        new.register_parameter(name, parameter)
    for name, buffer in old._buffers.items():
        new.register_buffer(name, buffer)
    return new.train(old.training)


def _is_distributed(norm: nn.Module) -> bool:
    return norm.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _normalize(norm: SyncedBatchNorm1d | SyncedBatchNorm2d, values: Tensor) -> Tensor:
    norm._check_input_dim(values)
    mean, var, count = _compute_global_moments(values.detach())
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
        norm.running_var.lerp_((var * (count / (count - 1))).to(norm.running_var), momentum)
    return _GlobalBatchNorm.apply(values, norm.weight, norm.bias, mean, var, count, norm.eps)


def _compute_global_moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance [C] over all processes, and the number of values a channel; at least float32."""
    values = values if values.dtype == torch.float64 else values.float()
    axes = [0, *range(2, values.ndim)]
    var, mean = torch.var_mean(values, dim=axes, correction=0)
    local = torch.cat([mean, var, mean.new_tensor([values.numel() / values.shape[1]])])
    gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, local)
    channels = values.shape[1]
    means, variances, counts = torch.stack(gathered).split([channels, channels, 1], dim=1)
    count = counts.sum()
    share = counts / count
    mean = (share * means).sum(dim=0)
    return mean, (share * (variances + (means - mean).square())).sum(dim=0), count


class _GlobalBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(values, weight, mean, torch.rsqrt(var + eps), count)
        return F.batch_norm(values, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, scale, count = ctx.saved_tensors
        grad = grads[0].to(mean.dtype)
        shape = (1, -1, *[1] * (values.ndim - 2))
        axes = [0, *range(2, values.ndim)]
        standard = (values.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        sums = torch.stack([grad.sum(dim=axes), (grad * standard).sum(dim=axes)])
        grad_bias, grad_weight = sums.clone()
        dist.all_reduce(sums)
        mean_grad, mean_product = (sums / count).unbind()
        factor = scale if weight is None else scale * weight
        grad_values = factor.view(shape) * (grad - mean_grad.view(shape) - standard * mean_product.view(shape))
        needs_weight, needs_bias = ctx.needs_input_grad[1:3]
        return (
            grad_values.to(values.dtype),
            grad_weight if needs_weight else None,
            grad_bias if needs_bias else None,
            None,
            None,
            None,
            None,
        )
