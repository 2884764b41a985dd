"""Whether an encoder memorised its training images: does a piece of background predict the class of an image?

After Meehan et al., "Do SSL models have déjà vu?" (arXiv 2304.13850): the label of an image is predicted from a crop
that does not show its object, by the nearest labelled images that the encoder was not trained on. The accuracy
on held-out images shows how well background predicts the class without memorisation. A higher accuracy on training
images is a sign of memorisation.

The paper trains a second encoder without these images to compare with, and crops around recorded objects. Here the
held-out images are the comparison, and a corner is the background, so that splits of unequal difficulty also give a
difference.

Shape letters: Q queries of one group, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simclr_med.evaluation.features import extract_features
from simclr_med.evaluation.knn import knn_scores
from simclr_med.metrics.intervals import LEVEL
from simclr_med.models.encoders import Encoder

CORNER = 0.4  # side of the crop as a fraction of the image's
_RESAMPLES = 5000


@dataclass(frozen=True)
class LabelledGroup:
    """Images of one group with one label each.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int64 [N].
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Memorization:
    """How well corners predict the classes.

    Attributes:
        trained, held_out: accuracy on training and on held-out images, averaged over the classes that both have.
        low, high: 95 % interval of their difference.
        images: numbers of training and held-out images.
    """

    trained: float
    held_out: float
    low: float
    high: float
    images: tuple[int, int]


def measure_memorization(
    encoder: Encoder,
    bank: LabelledGroup,
    trained: LabelledGroup,
    held_out: LabelledGroup,
    to_float: Callable[[Tensor], Tensor],
    neighbours: tuple[int, float],
    seed: int,
) -> Memorization:
    """Compare how well the corners of training and of held-out images predict their classes.

    Args:
        encoder: images_BCHW in [0, 1] to features_BD.
        bank: whole images that the encoder was not trained on; the nearest ones vote.
        trained, held_out: images whose corners are classified.
        to_float: as in `extract_features`.
        neighbours: their number and the temperature of their weights, as in `knn_scores`.
        seed: of the bootstrap over images, within each class.

    Raises:
        ValueError: both groups share fewer than two classes.
    """
    classes = np.intersect1d(trained.labels, held_out.labels)
    if len(classes) < 2:
        raise ValueError("training and held-out images share fewer than two classes")
    device = next(encoder.parameters()).device
    most = 1 + int(max(group.labels.max() for group in (bank, trained, held_out)))
    features_MD = extract_features(encoder, bank.images, to_float, device)
    targets_MK = F.one_hot(torch.from_numpy(bank.labels).to(device), most).float()
    generator = np.random.default_rng(seed)
    means, samples = [], []
    for group in (trained, held_out):
        corners_QD = extract_features(encoder, group.images, lambda batch: crop_corner(to_float(batch)), device)
        found_Q = knn_scores(corners_QD, features_MD, targets_MK, *neighbours).argmax(dim=1).cpu().numpy()
        right = [found_Q[group.labels == label] == label for label in classes]
        means.append(float(np.mean([of_class.mean() for of_class in right])))
        # A resample of n images of which a share p is right has a binomial number of right ones.
        drawn = [generator.binomial(len(one), one.mean(), _RESAMPLES) / len(one) for one in right]
        samples.append(np.mean(drawn, axis=0))
    low, high = np.quantile(samples[0] - samples[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Memorization(means[0], means[1], float(low), float(high), (len(trained.labels), len(held_out.labels)))


def crop_corner(images_BCHW: Tensor) -> Tensor:
    """Return the lower left corner of each image, resized to the whole size (bilinear).

    Args:
        images_BCHW: float [B, C, H, W].
    """
    height, width = images_BCHW.shape[-2:]
    rows, columns = max(1, round(CORNER * height)), max(1, round(CORNER * width))
    corner = images_BCHW[..., height - rows :, :columns]
    return F.interpolate(corner, (height, width), mode="bilinear", align_corners=False)
