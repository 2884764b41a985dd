"""Networks recognised by the keys of their state dict: torchvision's, and the ones inside the thesis's checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simclr_med.errors import CheckpointError
from simclr_med.models.normalization import HALF, IMAGENET_MEAN, IMAGENET_STD, Moments

State = Mapping[str, Tensor]

_RESNETS: dict[tuple[str, tuple[int, ...]], str] = {
    ("conv2", (2, 2, 2, 0)): "resnet14",
    ("conv2", (2, 2, 2, 2)): "resnet18",
    ("conv2", (3, 4, 6, 3)): "resnet34",
    ("conv3", (3, 4, 6, 3)): "resnet50",
    ("conv3", (3, 4, 23, 3)): "resnet101",
    ("conv3", (3, 8, 36, 3)): "resnet152",
}
# Dense layers of each block, and blocks of each ConvNeXt stage with the stem's channels.
_DENSENETS: dict[tuple[int, ...], str] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
}
_CONVNEXTS: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 3, 9, 3), 96): "convnext_tiny",
    ((3, 3, 27, 3), 96): "convnext_small",
}
# torchvision's DenseNet files have keys of an older torch: norm.1 for norm1 (torchvision.models.densenet).
_OLD_DENSENET_KEY = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


@dataclass(frozen=True)
class ForeignEncoder:
    """An encoder in a file that another program wrote.

    Attributes:
        kind: what wrote the file.
        state: the encoder's tensors, under torchvision's keys.
        head: the tensors of the head, under the keys of an ``nn.Sequential`` or ``nn.Linear``.
        mean, std: of the channels that the network expects; None where only the encoder itself knows them.
        option: of ``conf/encoder`` that the tensors fit, with its scalar arguments; None if the keys say it.
    """

    kind: str
    state: dict[str, Tensor]
    head: dict[str, Tensor]
    mean: Moments | None
    std: Moments | None
    option: Mapping[str, Any] | None = None


def recognize_torchvision(state: State) -> ForeignEncoder | None:
    """Return the encoder of a torchvision state dict, with or without its classifier; None for another content."""
    if "conv1.weight" in state:
        classifier = "fc."
    elif "features.conv0.weight" in state:
        classifier = "classifier."
    elif "features.1.0.layer_scale" in state:
        classifier = "classifier.2."
    else:
        return None
    renamed = {_OLD_DENSENET_KEY.sub(r"\1\2", name): tensor for name, tensor in state.items()}
    return _split(renamed, classifier, "the torchvision state dict", IMAGENET_MEAN, IMAGENET_STD)


def recognize_thesis(path: Path, state: State) -> ForeignEncoder | None:
    """Return the encoder of a checkpoint of the thesis (Zenodo record 8048780); None for another content.

    Raises:
        CheckpointError: the file is the thesis's probe, which holds no encoder.
    """
    if set(state) == {"model.weight", "model.bias"}:
        raise CheckpointError(
            f"checkpoint={path}: the thesis's probe holds a linear layer and no encoder. Name the pretraining "
            "checkpoint that it was trained on."
        )
    for prefix, kind in (("convnet.", "pretraining"), ("backbone.", "classifier")):
        if f"{prefix}conv1.weight" in state:
            return _split(select_prefix(state, prefix), "fc.", f"the thesis's {kind}", HALF, HALF)
    return None


def select_prefix(state: State, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, under their names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def describe_network(state: State) -> str:
    """Return a network in words, such as ``resnet18 with the stock stem``."""
    if "layer1.0.conv1.weight" in state and state.get("conv1.weight", torch.empty(0)).ndim == 4:
        return _describe_resnet(state)
    if "features.conv0.weight" in state:
        layers = tuple(
            _count(state, f"features.denseblock{block}.denselayer{{}}.conv1.weight", 1) for block in range(1, 5)
        )
        return _DENSENETS.get(layers, f"a DenseNet of {'-'.join(map(str, layers))} layers")
    if "features.1.0.layer_scale" in state:
        blocks = tuple(_count(state, f"features.{stage}.{{}}.layer_scale", 0) for stage in (1, 3, 5, 7))
        channels = state["features.1.0.layer_scale"].numel()
        return _CONVNEXTS.get(
            (blocks, channels), f"a ConvNeXt of {'-'.join(map(str, blocks))} blocks, {channels} channels wide"
        )
    return "an unknown network"


def describe_unknown(path: Path, state: State) -> str:
    """Return the message for a file whose state dict is of no encoder that is known here."""
    for name in sorted(state, key=len):
        prefix = name.removesuffix("conv1.weight")
        if prefix and prefix != name and f"{prefix}layer1.0.conv1.weight" in state:
            prefix = "module." if prefix.startswith("module.") else prefix  # DataParallel's; the rest can be known
            return (
                f"checkpoint={path}: the weights have an unknown prefix ({name}). Save the state "
                f'dict as {{name.removeprefix("{prefix}"): tensor for name, tensor in state.items() if '
                f'name.startswith("{prefix}")}}.'
            )
    first = ", ".join(sorted(state)[:3]) or "no tensors"
    return (
        f"checkpoint={path}: no encoder found; the file holds {first}. Name a file of this project, or a torchvision "
        "state dict of a ResNet, DenseNet or ConvNeXt."
    )


def _describe_resnet(state: State) -> str:
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    blocks = tuple(_count(state, f"layer{stage}.{{}}.conv1.weight", 0) for stage in range(1, 5))
    name = _RESNETS.get((last, blocks), f"a ResNet of {'-'.join(map(str, blocks))} blocks")
    width, channels, kernel = state["conv1.weight"].shape[:3]
    stem = "the stock stem" if kernel == 7 else f"a {kernel}x{kernel} stem"
    width_text = "" if width == 64 else f", {width} channels wide"
    channels_text = "" if channels == 3 else f", {channels} input channels"
    return f"{name} with {stem}{width_text}{channels_text}"


def _count(state: State, pattern: str, first: int) -> int:
    number = first
    while pattern.format(number) in state:
        number += 1
    return number - first


def _split(network: State, classifier: str, kind: str, mean: Moments, std: Moments) -> ForeignEncoder:
    encoder = {name: tensor for name, tensor in network.items() if not name.startswith(classifier)}
    return ForeignEncoder(kind, encoder, select_prefix(network, classifier), mean, std)
