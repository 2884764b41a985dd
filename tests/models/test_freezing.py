"""Frozen layers of an encoder: neither weights nor statistics change."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from simclr_med.errors import ConfigError
from simclr_med.models.encoders import resnet
from simclr_med.models.freezing import freeze_layers
from simclr_med.models.optimizers import adamw, build_layerwise_optimizer


def make() -> nn.Module:
    torch.manual_seed(0)
    return resnet(18, "stock", False, [0.5] * 3, [0.5] * 3)


def step(encoder, decay: float = 1.0) -> dict[str, torch.Tensor]:
    """Train one step; return the state before it."""
    before = copy.deepcopy(encoder.state_dict())
    optimizer = build_layerwise_optimizer(
        lambda named: adamw(named, 0.1, 0.1, True), encoder.named_parameters(), decay, encoder.layer_groups()
    )
    encoder.train()
    encoder(torch.rand(4, 3, 28, 28)).square().sum().backward()
    optimizer.step()
    return before


def changed(encoder, before) -> set[str]:
    return {key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_first_groups_stay_with_their_statistics(decay: float) -> None:
    encoder = make()
    first = encoder.layer_groups()[0]
    frozen = sum(dict(encoder.named_parameters())[name].numel() for name in first)
    assert freeze_layers(encoder, 1).startswith(f"{frozen:,} of ")
    moved = changed(encoder, step(encoder, decay))
    assert moved
    kept = {name.partition(".")[0] for name in first}
    assert not {name for name in moved if name.partition(".")[0] in kept}
    assert "layer4.1.bn2.running_mean" in moved


def test_layers_are_frozen_by_their_names() -> None:
    encoder = make()
    freeze_layers(encoder, ["layer1.0.bn1", "conv1"])
    moved = changed(encoder, step(encoder))
    assert {name for name in encoder.state_dict() if name not in moved} == {
        "conv1.weight",
        *(f"layer1.0.bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    }


def test_a_frozen_norm_uses_its_running_statistics_also_in_a_copy() -> None:
    encoder = make()
    freeze_layers(encoder, ["bn1"])
    copied = pickle.loads(pickle.dumps(encoder))
    for network in (encoder, copied):
        network.train()
        seen: list[torch.Tensor] = []
        network.bn1.register_forward_hook(lambda module, inputs, output, seen=seen: seen.extend([*inputs, output]))
        network(torch.rand(4, 3, 28, 28))
        torch.testing.assert_close(seen[1], seen[0] / (1 + network.bn1.eps) ** 0.5)


def test_nothing_is_frozen_by_default() -> None:
    encoder = make()
    assert freeze_layers(encoder, 0) == ""
    assert freeze_layers(encoder, []) == ""
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert len(changed(encoder, step(encoder))) == len(encoder.state_dict())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (5, r"stage\.freeze=5: the encoder has 5 layer groups, and at least one must train\. Use at most 4"),
        (["conv2"], r"stage\.freeze=conv2: no layer of the encoder\. Use some of conv1, bn1, layer1"),
        (["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"], "these are all layers"),
    ],
)
def test_what_cannot_be_frozen_is_one_line(layers, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        freeze_layers(make(), layers)
