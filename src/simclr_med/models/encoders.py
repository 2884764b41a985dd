"""Encoders: the contract that every encoder fulfils, and torchvision's ResNets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from simclr_med.models.normalization import HALF, RGB, normalize, register_normalization, spread_moments

AnyEncoder = TypeVar("AnyEncoder")


class Encoder(Protocol):
    """The contract of an encoder: an ``nn.Module`` that maps images to features.

    Every option of ``conf/encoder`` names a function that returns such a module. Its state dict has the keys of the
    library that the network comes from, so that the saved file loads there too. tests/models/test_encoder_contract.py
    checks every option.

    Attributes:
        width: D, the number of features.
        mean, std: float [1, C, 1, 1], of the channels of images in [0, 1]; buffers outside of the state dict
            (`register_normalization`). A file of the encoder records them.
        training: as in ``nn.Module``.
    """

    width: int
    mean: Tensor
    std: Tensor
    training: bool

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return features_BD of float images_BCHW in [0, 1]. The encoder normalises them itself."""

    def layer_groups(self) -> list[list[str]]:
        """Return the names of all parameters in groups, from the input to the output.

        Layer-wise learning rates fall by one factor from each group to the one before it.
        """

    def feature_map(self) -> list[str]:
        """Return the names of the modules whose outputs [B, C, h, w] Grad-CAM can use, from the last to the first."""

    # What this project uses of nn.Module.
    def __call__(self, images_BCHW: Tensor) -> Tensor: ...
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...
    def get_submodule(self, target: str) -> nn.Module: ...
    def to(self: AnyEncoder, device: torch.device) -> AnyEncoder: ...
    def train(self: AnyEncoder, mode: bool = True) -> AnyEncoder: ...
    def eval(self: AnyEncoder) -> AnyEncoder: ...


def is_encoder(module: object) -> TypeGuard[Encoder]:
    """Return whether an object fulfils the contract.

    ``isinstance`` with a protocol does not find the buffers of an ``nn.Module`` from Python 3.12 on.
    """
    wanted = ("width", "mean", "std", "layer_groups", "feature_map")
    return isinstance(module, nn.Module) and all(hasattr(module, name) for name in wanted)


def list_parameters(module: nn.Module, *prefixes: str) -> list[str]:
    """Return the names of the parameters below some submodules: one group of `Encoder.layer_groups`."""
    starts = tuple(f"{prefix}." for prefix in prefixes)
    return [name for name, _ in module.named_parameters() if name.startswith(starts)]


def set_option(encoder: Encoder, option: Mapping[str, Any]) -> None:
    """Record the option that an encoder was built from: its name and its scalar arguments.

    `encoder_files.save_encoder` and training checkpoints keep the record beside the weights.
    """
    scalars = {key: value for key, value in option.items() if isinstance(value, str | int | float | None)}
    scalars.pop("_target_", None)
    if scalars.get("in_channels") == RGB:
        del scalars["in_channels"]  # so that the hash of an encoder is that of files without this argument
    encoder.option = scalars  # type: ignore[attr-defined]


def get_option(encoder: Encoder) -> dict[str, Any] | None:
    """Return what `set_option` recorded; None for an encoder that was built without an option."""
    return getattr(encoder, "option", None)


Stem = Literal["stock", "small", "half"]
_LAYOUTS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    14: (BasicBlock, [2, 2, 2]),
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
}
# Kernel and stride of the first convolution. Only the stock stem has a max-pool.
_STEMS: dict[Stem, tuple[int, int]] = {"stock": (7, 2), "small": (3, 1), "half": (3, 2)}


class ResNetEncoder(ResNet):
    """A torchvision ResNet without its classifier: an `Encoder`.

    Its state dict has torchvision's keys, without ``fc``. With three stages it has no ``layer4``.

    Attributes:
        width: D, the number of features.
        stages: names of the stages' modules, from input to output.
        channels: of the first stage; 64 in torchvision.
        mean, std: float [1, C, 1, 1], C the channels of the images.
    """

    channels = 64
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        *,
        stem: Stem,
        zero_init_residual: bool,
        mean: Sequence[float],
        std: Sequence[float],
        in_channels: int = RGB,
    ) -> None:
        if stem not in _STEMS:
            raise ValueError(f"stem={stem!r}: expected one of {', '.join(_STEMS)}.")
        super().__init__(block, [*layers, 1][:4], zero_init_residual=zero_init_residual)
        register_normalization(self, spread_moments(mean, in_channels), spread_moments(std, in_channels))
        self.width = self.inplanes
        self.stages = ["layer1", "layer2", "layer3", "layer4"][: len(layers)]
        if "layer4" not in self.stages:
            self.layer4 = nn.Identity()  # type: ignore[assignment]
            self.width //= 2
        self.fc = nn.Identity()  # type: ignore[assignment]
        if stem != "stock":
            self.maxpool = nn.Identity()  # type: ignore[assignment]
        if (stem, self.channels, in_channels) != ("stock", ResNetEncoder.channels, RGB):
            kernel, stride = _STEMS[stem]
            self.conv1 = nn.Conv2d(in_channels, self.channels, kernel, stride, kernel // 2, bias=False)
            self.bn1 = nn.BatchNorm2d(self.channels)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        if not hasattr(self, "layer1"):
            self.inplanes = self.channels
        return super()._make_layer(block, planes * self.channels // ResNetEncoder.channels, blocks, stride, dilate)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of images.

        Args:
            images_BCHW: float [B, C, H, W] in [0, 1], of the weights' dtype; any size. A single channel is repeated.

        Returns:
            float [B, D], the average over the last stage's map.
        """
        x = normalize(self, images_BCHW)
        # ReLU is monotone, so it can follow the max-pool, on a quarter of the pixels: outputs and gradients are equal.
        x = self.relu(self.maxpool(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return torch.flatten(self.avgpool(x), 1)

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters of the stem and of each stage."""
        return [list_parameters(self, "conv1", "bn1"), *(list_parameters(self, stage) for stage in self.stages)]

    def feature_map(self) -> list[str]:
        """Return the stages, the last first."""
        return self.stages[::-1]


class TinyEncoder(ResNetEncoder):
    """A ResNet of an eighth of the usual width, for tests: 64 features, 77 thousand weights."""

    channels = 8


def resnet(
    depth: Literal[14, 18, 34, 50],
    stem: Stem = "stock",
    zero_init_residual: bool = False,
    mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF,
    in_channels: int = RGB,
) -> ResNetEncoder:
    """Return a ResNet encoder (He et al., arXiv 1512.03385), initialised from torch's global generator.

    Args:
        depth: 18 or 34 (D = 512), 50 (D = 2048), or 14 (D = 256: a ResNet-18 without its last stage).
        stem: ``stock``, 7x7 at stride 2 with a max-pool; ``small``, 3x3 at stride 1 without (SimCLR, arXiv 2002.05709,
            appendix B.9, for images of 32 pixels or less), with maps 4 times as wide; or ``half``, 3x3 at stride 2
            without, with maps twice as wide as those of ``stock``.
        zero_init_residual: starts the last batch-norm scale of each residual block at 0 (Goyal et al., arXiv
            1706.02677, section 5.1).
        mean, std: of each channel of images in [0, 1]; equal numbers stand for any number of channels.
        in_channels: of the images; grey images are repeated to 3.

    Raises:
        ValueError: an unknown depth or stem, or means and deviations that are not one number for each channel.
    """
    if depth not in _LAYOUTS:
        raise ValueError(f"depth={depth}: expected one of {', '.join(map(str, _LAYOUTS))}.")
    block, layers = _LAYOUTS[depth]
    return ResNetEncoder(
        block, layers, stem=stem, zero_init_residual=zero_init_residual, mean=mean, std=std, in_channels=in_channels
    )


def tiny(mean: Sequence[float] = HALF, std: Sequence[float] = HALF, in_channels: int = RGB) -> ResNetEncoder:
    """Return a ResNet with the stock stem, one narrow block a stage and D = 64, for quick tests."""
    return TinyEncoder(
        BasicBlock, [1, 1, 1, 1], stem="stock", zero_init_residual=False, mean=mean, std=std, in_channels=in_channels
    )
