"""torchvision's DenseNet-121 as an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet

from simclr_med.models.encoders import list_parameters
from simclr_med.models.normalization import HALF, normalize, register_normalization


class DenseNetEncoder(DenseNet):
    """A torchvision DenseNet without its classifier: an `Encoder`.

    Its state dict has torchvision's keys, without ``classifier``. Transitions round the size of odd maps up (7 to 4
    pixels, as in a ResNet) where torchvision rounds it down and refuses images below 32 pixels. On images whose sides
    are multiples of 32, the features equal torchvision's.

    Attributes:
        width: D, the number of features.
        mean, std: float [1, 3, 1, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, blocks: tuple[int, int, int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(block_config=blocks)
        register_normalization(self, mean, std)
        self.width: int = self.features.norm5.num_features
        self.classifier = nn.Identity()  # type: ignore[assignment]
        for module in self.modules():
            if isinstance(module, nn.AvgPool2d):
                module.ceil_mode = True

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of images.

        Args:
            images_BCHW: float [B, 3, H, W] in [0, 1], of the weights' dtype; any size. The last map is 1x1 up to 32
                pixels. A single channel is repeated three times.

        Returns:
            float [B, D], the average over the last map.
        """
        features = F.relu(self.features(normalize(self, images_BCHW)))
        return torch.flatten(F.adaptive_avg_pool2d(features, (1, 1)), 1)

    def layer_groups(self) -> list[list[str]]:
        """Return the parameters of the stem, and of the four dense blocks with what follows each."""
        groups = [
            ("conv0", "norm0"),
            ("denseblock1", "transition1"),
            ("denseblock2", "transition2"),
            ("denseblock3", "transition3"),
            ("denseblock4", "norm5"),
        ]
        return [list_parameters(self, *(f"features.{name}" for name in names)) for names in groups]

    def feature_map(self) -> list[str]:
        """Return the four dense blocks, the last first."""
        return [f"features.denseblock{number}" for number in (4, 3, 2, 1)]


def densenet121(mean: Sequence[float] = HALF, std: Sequence[float] = HALF) -> DenseNetEncoder:
    """Return a DenseNet-121 encoder (Huang et al., arXiv 1608.06993, table 1) with D = 1024.

    The weights are initialised from torch's global generator.

    Args:
        mean, std: of each channel of images in [0, 1].

    Raises:
        ValueError: means and deviations that are not three numbers each.
    """
    return DenseNetEncoder((6, 12, 24, 16), mean, std)
