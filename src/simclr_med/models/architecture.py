"""Which ResNet a state dict is of, read from the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_DEPTHS: dict[tuple[str, tuple[int, ...]], str] = {
    ("conv2", (2, 2, 2, 2)): "resnet18",
    ("conv2", (3, 4, 6, 3)): "resnet34",
    ("conv3", (3, 4, 6, 3)): "resnet50",
    ("conv3", (3, 4, 23, 3)): "resnet101",
    ("conv3", (3, 8, 36, 3)): "resnet152",
}


def described(state: Mapping[str, Tensor]) -> str:
    """A network in words, such as ``resnet18 with the stock stem``."""
    if "conv1.weight" not in state or "layer1.0.conv1.weight" not in state:
        return "not a ResNet"
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    blocks = tuple(sum(f"layer{stage}.{i}.conv1.weight" in state for i in range(64)) for stage in range(1, 5))
    name = _DEPTHS.get((last, blocks), f"a ResNet of {'-'.join(map(str, blocks))} blocks")
    width, channels, kernel = state["conv1.weight"].shape[:3]
    stem = {7: "the stock stem", 3: "the small stem"}.get(kernel, f"a {kernel}x{kernel} stem")
    wide = "" if width == 64 else f", {width} channels wide"
    grey = "" if channels == 3 else f", {channels} input channels"
    return f"{name} with {stem}{wide}{grey}"
