"""Optimizers, built from named parameters. Only what the caller asks for is decayed or scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
    """Return AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2), with betas 0.9 and 0.999.

    Args:
        named_parameters: frozen ones (``requires_grad=False``) are excluded.
        lr: at factor 1 of the schedule.
        weight_decay: decoupled; a step takes ``lr * weight_decay`` of a weight.
        decay_norm_and_bias: whether norms and biases (one dimension or none) are decayed too.
        fused: one kernel for all parameters; None lets torch choose.
    """
    groups = _build_groups(named_parameters, weight_decay, decay_norm_and_bias)
    return AdamW(groups, lr=lr, fused=fused)


def adam(
    named_parameters: NamedParameters,
    lr: float,
    weight_decay: float,
    decay_norm_and_bias: bool,
    fused: bool | None = True,
) -> Adam:
    """Return Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), with betas 0.9 and 0.999.

    ``weight_decay`` is added to the gradient. The other arguments are those of ``adamw``.
    """
    groups = _build_groups(named_parameters, weight_decay, decay_norm_and_bias)
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
    """Return SGD with momentum and without dampening; ``weight_decay`` is added to the gradient.

    The other arguments are those of ``adamw``.
    """
    groups = _build_groups(named_parameters, weight_decay, decay_norm_and_bias)
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
    """Return LARS with SimCLR's exclusions: norms and biases are neither decayed nor adapted.

    Args:
        named_parameters: frozen ones (``requires_grad=False``) are excluded.
        lr: before scaling.
        weight_decay: added to the gradient of the adapted parameters, so that it is part of their trust ratio.
        momentum: of the velocity, which holds the learning rate; no Nesterov.
        eta: the trust coefficient.
        lr_scaling: ``linear``: lr * batch_size / 256; ``sqrt``: lr * sqrt(batch_size); ``none``: lr
            (SimCLR, arXiv 2002.05709, section 2.2 and appendix B.1).
        batch_size: images in the global batch, of all processes.

    Raises:
        ValueError: an unknown scaling or a batch below 1.
    """
    if lr_scaling not in _LR_SCALINGS:
        raise ValueError(f"lr_scaling={lr_scaling!r}: expected one of {', '.join(_LR_SCALINGS)}.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected an integer >= 1.")
    adapted, plain = _split(named_parameters)
    groups = [
        {"params": adapted, "weight_decay": weight_decay, "adapt": True},
        {"params": plain, "weight_decay": 0.0, "adapt": False},
    ]
    scaled = lr * _LR_SCALINGS[lr_scaling](batch_size)
    return Lars([group for group in groups if group["params"]], lr=scaled, momentum=momentum, eta=eta)


def build_layerwise_optimizer(
    make: Callable[[NamedParameters], Optimizer],
    named_parameters: NamedParameters,
    decay: float,
    groups: Sequence[Sequence[str]],
    encoder_lr: float = 1.0,
    split: bool = False,
) -> Optimizer:
    """Return an optimizer whose learning rate falls from the head to the input (Bao et al., arXiv 2106.08254, 3.2).

    Args:
        make: builds the optimizer of some named parameters.
        named_parameters: of an encoder, then of a head under the prefix ``head``.
        decay: factor on the rate from one group to the one before it, in (0, 1]; the head has the full rate. 1 gives
            the plain optimizer.
        groups: the encoder's `layer_groups`, from the input to the output.
        encoder_lr: further factor on the rates of the encoder, in (0, 1].
        split: separate the parameter groups of head and encoder even if their rates are equal.

    Raises:
        ValueError: a parameter of the encoder in no group or in two, or a name in a group that is no parameter.
    """
    if decay == encoder_lr == 1 and not split:
        return make(named_parameters)
    named = list(named_parameters)
    depths = {
        depth: own
        for depth, own in _split_by_depth(named, groups).items()
        if any(parameter.requires_grad for _, parameter in own)
    }
    deepest, *others = sorted(depths, reverse=True)
    optimizer = make(depths[deepest])
    for depth in others:
        for group in make(depths[depth]).param_groups:
            optimizer.add_param_group({**group, "lr": group["lr"] * encoder_lr * decay ** (deepest - depth)})
    return optimizer


def _split_by_depth(
    named_parameters: Sequence[tuple[str, nn.Parameter]], groups: Sequence[Sequence[str]]
) -> dict[int, list[tuple[str, nn.Parameter]]]:
    """Return the parameters by depth: 0 for the first group, the number of groups for the head."""
    names = [name for group in groups for name in group]
    if len(names) != len(set(names)):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"layer_groups: {repeated} is in two groups. List every parameter once.")
    unused = {name: depth for depth, group in enumerate(groups) for name in group}
    depths: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named_parameters:
        # The encoder comes first: its own parameter with a name of the head's takes its group.
        if name in unused:
            depth = unused.pop(name)
        elif name.startswith("head."):
            depth = len(groups)
        else:
            raise ValueError(f"layer_groups: {name} is in no group. List every parameter of the encoder.")
        depths.setdefault(depth, []).append((name, parameter))
    if unused:
        raise ValueError(f"layer_groups: {next(iter(unused))} is no parameter of the encoder. Remove it.")
    return depths


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
        """Update every parameter that has a gradient; return the closure's loss, if there is one."""
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
    """Return the weights of two dimensions or more, and the norms and biases."""
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    return [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]


def _build_groups(
    named_parameters: NamedParameters, weight_decay: float, decay_norm_and_bias: bool
) -> list[dict[str, Any]]:
    weights, plain = _split(named_parameters)
    plain_decay = weight_decay if decay_norm_and_bias else 0.0
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": plain, "weight_decay": plain_decay}]
    return [group for group in groups if group["params"]]
