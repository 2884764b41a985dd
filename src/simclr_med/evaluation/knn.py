"""Weighted k-nearest-neighbour classification on features (Wu et al. 2018, section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def knn_scores(
    queries_ND: Tensor, bank_MD: Tensor, bank_targets_MK: Tensor, k: int, temperature: float, chunk: int = 4096
) -> Tensor:
    """Return each query's class scores: the sum over its k nearest of exp(cosine / temperature) x target.

    Args:
        queries_ND, bank_MD: features, compared by cosine, so their lengths do not matter.
        bank_targets_MK: one-hot or multi-label targets of the bank, float.
        k: neighbours; at most M are used.
        temperature: of the weights, greater than 0.
        chunk: queries compared at a time; affects memory alone.

    Returns:
        scores_NK, float32, each row summing to 1 for one-hot targets.
    """
    bank = F.normalize(bank_MD.float(), dim=1)
    parts = []
    for queries in queries_ND.float().split(chunk):
        cosine, nearest = (F.normalize(queries, dim=1) @ bank.T).topk(min(k, len(bank)), dim=1)
        # A softmax's weights are those of the paper over their sum, and do not overflow.
        weights = (cosine / temperature).softmax(dim=1)
        parts.append(torch.einsum("nk,nkc->nc", weights, bank_targets_MK.float()[nearest]))
    return torch.cat(parts)


def find_nearest(queries_ND: Tensor, bank_MD: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest rows of the bank by cosine, or all of a smaller bank, nearest first.

    Returns:
        cosine_NK and rows_NK, int64.
    """
    cosine_NM = F.normalize(queries_ND.float(), dim=1) @ F.normalize(bank_MD.float(), dim=1).T
    nearest = cosine_NM.topk(min(k, len(bank_MD)), dim=1)
    return nearest.values, nearest.indices


def knn_accuracy(scores_NK: Tensor, targets_NK: Tensor) -> float:
    """Return the fraction of correct predictions.

    They count per image for one-hot targets, and per (image, label) pair for multi-label ones.
    """
    multi_label = bool((targets_NK.sum(dim=1) != 1).any())
    if multi_label:
        return float(((scores_NK > 0.5) == (targets_NK > 0.5)).float().mean())
    return float((scores_NK.argmax(dim=1) == targets_NK.argmax(dim=1)).float().mean())
