"""Optimizers, built from named parameters. Nothing is decayed or scaled that the caller did not ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

NamedParameters = Iterable[tuple[str, nn.Parameter]]
LrScaling = Literal["none", "linear", "sqrt"]


def adamw(
    named_parameters: NamedParameters,
    lr: float,
    weight_decay: float,
    decay_norm_and_bias: bool,
    fused: bool | None = True,
) -> AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2), with betas 0.9 and 0.999.

    Args:
        named_parameters: frozen ones (``requires_grad=False``) are left out.
        lr: at factor 1 of the schedule.
        weight_decay: decoupled; a step takes ``lr * weight_decay`` of a weight.
        decay_norm_and_bias: whether norms and biases (one dimension or none) are decayed as well.
        fused: one kernel for all parameters; None lets torch choose.
    """
    groups = _groups(named_parameters, weight_decay, decay_norm_and_bias)
    return AdamW(groups, lr=lr, fused=fused)


def adam(
    named_parameters: NamedParameters,
    lr: float,
    weight_decay: float,
    decay_norm_and_bias: bool,
    fused: bool | None = True,
) -> Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), with betas 0.9 and 0.999; decay is added to the gradient.

    The other arguments are those of ``adamw``.
    """
    groups = _groups(named_parameters, weight_decay, decay_norm_and_bias)
    return Adam(groups, lr=lr, fused=fused)


def sgd(
    named_parameters: NamedParameters,
    lr: float,
    momentum: float,
    weight_decay: float,
    decay_norm_and_bias: bool,
    nesterov: bool = False,
    fused: bool | None = True,
) -> SGD:
    """SGD with momentum, no dampening; ``weight_decay`` is added to the gradient. Else as ``adamw``."""
    groups = _groups(named_parameters, weight_decay, decay_norm_and_bias)
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=fused)


def lars(
    named_parameters: NamedParameters,
    lr: float,
    weight_decay: float,
    momentum: float,
    eta: float,
    lr_scaling: LrScaling,
    batch_size: int,
) -> Lars:
    """LARS with SimCLR's exclusions: norms and biases are neither decayed nor adapted.

    Args:
        named_parameters: frozen ones (``requires_grad=False``) are left out.
        lr: before scaling.
        weight_decay: added to the gradient of the other parameters, and so part of their trust ratio.
        momentum: of the velocity, which holds the learning rate; no Nesterov.
        eta: the trust coefficient.
        lr_scaling: ``linear``: lr * batch_size / 256; ``sqrt``: lr * sqrt(batch_size); ``none``: lr
            (SimCLR, arXiv 2002.05709, section 2.2 and appendix B.1).
        batch_size: images in the global batch, of all processes.

    Raises:
        ValueError: an unknown scaling or a batch below 1.
    """
    if lr_scaling not in _LR_SCALINGS:
        raise ValueError(f"lr_scaling={lr_scaling!r}: must be one of {', '.join(_LR_SCALINGS)}")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be 1 or more")
    adapted, plain = _split(named_parameters)
    groups = [
        {"params": adapted, "weight_decay": weight_decay, "adapt": True},
        {"params": plain, "weight_decay": 0.0, "adapt": False},
    ]
    scaled = lr * _LR_SCALINGS[lr_scaling](batch_size)
    return Lars([group for group in groups if group["params"]], lr=scaled, momentum=momentum, eta=eta)


def build_layerwise_optimizer(
    make: Callable[[NamedParameters], Optimizer], named_parameters: NamedParameters, decay: float
) -> Optimizer:
    """An optimizer whose learning rate falls from the head to the first layers (Bao et al., arXiv 2106.08254, 3.2).

    Args:
        make: the optimizer of some named parameters.
        named_parameters: of a ResNet, and of a head under the prefix ``head``.
        decay: factor from one depth to the one before: head, layer4, ..., layer1, stem. 1 changes nothing.
    """
    if decay == 1:
        return make(named_parameters)
    depths: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named_parameters:
        depths.setdefault(_depth(name), []).append((name, parameter))
    deepest, *others = sorted(depths, reverse=True)
    optimizer = make(depths[deepest])
    for depth in others:
        for group in make(depths[depth]).param_groups:
            optimizer.add_param_group({**group, "lr": group["lr"] * decay ** (deepest - depth)})
    return optimizer


def _depth(name: str) -> int:
    """0 of the stem, 1 to 4 of the four stages, 5 of the head."""
    if name.startswith("head"):
        return 5
    return int(name[len("layer")]) if name.startswith("layer") else 0


class Lars(Optimizer):
    """LARS (You et al., arXiv 1708.03888, algorithm 1) as in SimCLR's released ``lars_optimizer.py``.

    ``g = gradient + weight_decay * w``; ``r = eta * |w| / |g|`` (1 where a norm is 0, or the group is not adapted);
    ``v = momentum * v + lr * r * g``; ``w = w - v``.
    """

    def __init__(self, params: list[dict[str, Any]], lr: float, momentum: float, eta: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "eta": eta, "weight_decay": 0.0, "adapt": True})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient; returns the closure's loss, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if group["adapt"]:
            weight_norm, gradient_norm = parameter.norm(), gradient.norm()
            ratio = group["eta"] * weight_norm / gradient_norm
            gradient = gradient * torch.where((weight_norm > 0) & (gradient_norm > 0), ratio, 1.0)
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient, alpha=group["lr"])
        parameter.sub_(velocity)


_LR_SCALINGS: dict[str, Callable[[int], float]] = {
    "none": lambda batch_size: 1.0,
    "linear": lambda batch_size: batch_size / 256,
    "sqrt": lambda batch_size: math.sqrt(batch_size),
}


def _split(named_parameters: NamedParameters) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of two dimensions or more; norms and biases."""
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    return [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]


def _groups(named_parameters: NamedParameters, weight_decay: float, decay_norm_and_bias: bool) -> list[dict[str, Any]]:
    weights, plain = _split(named_parameters)
    plain_decay = weight_decay if decay_norm_and_bias else 0.0
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": plain, "weight_decay": plain_decay}]
    return [group for group in groups if group["params"]]
