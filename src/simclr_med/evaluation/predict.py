"""Class probabilities of images and of features, computed in one way for every stage that scores a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from simclr_med.evaluation.features import extract_features
from simclr_med.models.encoders import Encoder
from simclr_med.types import MULTI_LABEL, Task


def logits_to_probabilities(task: Task, logits_NK: np.ndarray | Tensor) -> np.ndarray:
    """Return probabilities float32 [N, K], computed in float64: a softmax over the classes, or a sigmoid per label."""
    logits = torch.as_tensor(logits_NK).double()
    return np.asarray((logits.sigmoid() if task == MULTI_LABEL else logits.softmax(dim=1)).float().cpu().numpy())


@torch.no_grad()
def compute_logits(head: nn.Module, features_ND: Tensor) -> Tensor:
    """Return logits [N, K] of features.

    The head runs in eval mode and in its own dtype (float64 for a probe's); its mode is restored.
    """
    training = head.training
    head.eval()
    logits_NK: Tensor = head(features_ND.to(next(head.parameters()).dtype))
    head.train(training)
    return logits_NK


def classify_features(head: nn.Module, task: Task, features_ND: Tensor) -> np.ndarray:
    """Return probabilities float32 [N, K] of features, by `compute_logits`."""
    return logits_to_probabilities(task, compute_logits(head, features_ND))


def predict_proba(
    encoder: Encoder,
    head: nn.Module,
    task: Task,
    images_NHWC: np.ndarray,
    to_float: Callable[[Tensor], Tensor],
    device: torch.device,
) -> np.ndarray:
    """Return probabilities float32 [N, K] of images without augmentation, with encoder and head in eval mode.

    Args:
        encoder, head, device: as in `extract_features` and `classify_features`.
        task: the kind of labels.
        images_NHWC: uint8.
        to_float: uint8 NHWC to float32 BCHW in [0, 1]; grey images get three channels.
    """
    return classify_features(head, task, extract_features(encoder, images_NHWC, to_float, device))
