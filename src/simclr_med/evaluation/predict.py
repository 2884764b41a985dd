"""From images to class probabilities, the same way wherever a model is scored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from simclr_med.evaluation.features import extract_features
from simclr_med.types import MULTI_LABEL, Task


def logits_to_probabilities(task: Task, logits_NK: np.ndarray | Tensor) -> np.ndarray:
    """Probabilities float32 [N, K] of float64 logits: a softmax over the classes, or a sigmoid of each label."""
    logits = torch.as_tensor(logits_NK).double()
    return np.asarray((logits.sigmoid() if task == MULTI_LABEL else logits.softmax(dim=1)).float().cpu().numpy())


@torch.no_grad()
def classify_features(head: nn.Module, task: Task, features_ND: Tensor) -> np.ndarray:
    """Probabilities float32 [N, K] of features; the head in eval mode and in its own dtype (float64 for a probe's)."""
    training = head.training
    head.eval()
    logits_NK = head(features_ND.to(next(head.parameters()).dtype))
    head.train(training)
    return logits_to_probabilities(task, logits_NK)


def predict_proba(
    encoder: nn.Module,
    head: nn.Module,
    task: Task,
    images_NHWC: np.ndarray,
    to_float: Callable[[Tensor], Tensor],
    device: torch.device,
) -> np.ndarray:
    """Probabilities float32 [N, K] of images without augmentation, encoder and head in eval mode."""
    return classify_features(head, task, extract_features(encoder, images_NHWC, to_float, device))
