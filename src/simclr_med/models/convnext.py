"""torchvision's ConvNeXt-T as an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from simclr_med.models.encoders import list_parameters
from simclr_med.models.normalization import HALF, normalize, register_normalization

# Positions of the layers in torchvision's `features`: the stem, then stages with a downsampling before each but one.
_DOWNSAMPLINGS = (2, 4, 6)
_STAGES = (1, 3, 5, 7)


class ConvNeXtEncoder(ConvNeXt):
    """A torchvision ConvNeXt without its classifier: an `Encoder`.

    Its state dict has torchvision's keys, without the linear layer ``classifier.2``; the norm ``classifier.0`` on the
    averaged features stays, as in the paper's code. A map of odd size is extended by its last row and column
    before it is halved (7 to 4 pixels) where torchvision drops them and refuses images below 32 pixels. On images whose
    sides are multiples of 32, the features equal torchvision's.

    Attributes:
        width: D, the number of features.
        mean, std: float [1, 3, 1, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, blocks: Sequence[CNBlockConfig], mean: Sequence[float], std: Sequence[float]) -> None:
        # Stochastic depth would draw from torch's global generator, so that a resumed run would end differently.
        super().__init__(list(blocks), stochastic_depth_prob=0.0)
        register_normalization(self, mean, std)
        self.width = blocks[-1].input_channels
        norm_and_flatten = list(self.get_submodule("classifier").children())[:2]
        self.classifier = nn.Sequential(*norm_and_flatten)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of images.

        Args:
            images_BCHW: float [B, 3, H, W] in [0, 1], of the weights' dtype; 4 pixels or more, since the stem takes
                patches of 4x4. The last map is 1x1 up to 32 pixels. A single channel is repeated three times.

        Returns:
            float [B, D], the normalised average over the last map.
        """
        x = normalize(self, images_BCHW)
        for position, layer in enumerate(self.features):
            x = layer(_extend_to_even(x) if position in _DOWNSAMPLINGS else x)
        features: Tensor = self.classifier(self.avgpool(x))
        return features

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters of the stem, and of the four stages with the downsampling before each."""
        groups = [("features.0",), ("features.1",), ("features.2", "features.3"), ("features.4", "features.5")]
        last = ("features.6", "features.7", "classifier")
        return [list_parameters(self, *names) for names in (*groups, last)]

    def feature_map(self) -> list[str]:
        """Return the four stages, the last first."""
        return [f"features.{position}" for position in reversed(_STAGES)]


def convnext_tiny(mean: Sequence[float] = HALF, std: Sequence[float] = HALF) -> ConvNeXtEncoder:
    """Return a ConvNeXt-T encoder (Liu et al., arXiv 2201.03545, section 3) with D = 768, without stochastic depth.

    The weights are initialised from torch's global generator.

    Args:
        mean, std: of each channel of images in [0, 1].

    Raises:
        ValueError: means and deviations that are not three numbers each.
    """
    blocks = [
        CNBlockConfig(96, 192, 3),
        CNBlockConfig(192, 384, 3),
        CNBlockConfig(384, 768, 9),
        CNBlockConfig(768, None, 3),
    ]
    return ConvNeXtEncoder(blocks, mean, std)


def _extend_to_even(maps_BChw: Tensor) -> Tensor:
    height, width = maps_BChw.shape[-2:]
    if height % 2 == 0 and width % 2 == 0:
        return maps_BChw
    return F.pad(maps_BChw, (0, width % 2, 0, height % 2), mode="replicate")
