"""Frozen first layers of an encoder: neither their weights nor their statistics change in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from simclr_med.errors import ConfigError
from simclr_med.models.encoders import Encoder


def freeze_layers(encoder: Encoder, layers: int | Sequence[str]) -> str:
    """Freeze layers of an encoder, in place, and return what is frozen, in words; empty if nothing is.

    Their parameters get no gradient and no weight decay. Their batch normalisation uses its running statistics and does
    not update them.

    Args:
        encoder: at its first step, after its batch normalisation was converted for several processes.
        layers: the number of layer groups from the input, or names of layers: ``conv1`` stands for all parameters
            below it.

    Raises:
        ConfigError: there are fewer groups, no layer of a name, or nothing is left to train.
    """
    groups = encoder.layer_groups()
    if isinstance(layers, int):
        if layers >= len(groups):
            raise ConfigError(
                f"stage.freeze={layers}: the encoder has {len(groups)} layer groups, and at least one must train. Use "
                f"at most {len(groups) - 1}, or stage=probe."
            )
        names = {name for group in groups[:layers] for name in group}
    else:
        names = _find_names(layers, [name for group in groups for name in group])
    parameters = dict(encoder.named_parameters())
    for name in names:
        parameters[name].requires_grad = False
    module: Any = encoder
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            part.register_forward_pre_hook(_stay_in_eval_mode)
    if not names:
        return ""
    count = sum(parameters[name].numel() for name in names)
    total = sum(parameter.numel() for parameter in parameters.values())
    return f"{count:,} of {total:,} parameters of the encoder are frozen (stage.freeze)"


def _find_names(layers: Sequence[str], known: Sequence[str]) -> set[str]:
    """Return the parameters of the named layers."""
    names: set[str] = set()
    for layer in layers:
        found = {name for name in known if name == layer or name.startswith(f"{layer}.")}
        if not found:
            tops = list(dict.fromkeys(name.partition(".")[0] for name in known))
            raise ConfigError(f"stage.freeze={layer}: no layer of the encoder. Use some of {', '.join(tops)}.")
        names |= found
    if len(names) == len(known):
        raise ConfigError(
            f"stage.freeze={','.join(layers)}: these are all layers of the encoder. Leave one out, or use stage=probe."
        )
    return names


def _stay_in_eval_mode(module: nn.Module, inputs: Any) -> None:
    """Set a frozen layer to eval mode before each of its forward passes; a function of a module, to be picklable."""
    module.training = False
