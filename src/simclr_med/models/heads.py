"""Heads: the projection that the contrastive loss sees, and the linear classifier."""

from __future__ import annotations

import itertools

from torch import nn


def projection_head(
    features: int, hidden: int = 512, out: int = 128, layers: int = 2, batch_norm: bool = False
) -> nn.Sequential:
    """Linear layers with ReLU between them, D -> hidden -> ... -> P.

    Without batch norm every linear layer has a bias: with 2 layers of 512 and 128 it is the original system's head,
    whose keys (``0``, ``2``) it shares. With batch norm it is SimCLR's (arXiv 2002.05709, section 2.1; 2 layers in the
    paper, 3 by default in its released code): a norm after every linear layer, the last included, no bias in
    any linear layer since the norm would take it away, and no shift in the last norm, as in the released code
    (``model_util.projection_head``: ``center=use_bias``).

    Args:
        features: D, the encoder's width.
        hidden: width of every layer but the last.
        out: P.
        layers: linear layers, 1 or more; 1 is a linear projection.
        batch_norm: a norm after every layer.

    Raises:
        ValueError: fewer than 1 layer.
    """
    if layers < 1:
        raise ValueError(f"layers={layers}: must be 1 or more")
    modules: list[nn.Module] = []
    widths = [features, *[hidden] * (layers - 1), out]
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        last = index == layers - 1
        modules.append(nn.Linear(before, after, bias=not batch_norm))
        if batch_norm:
            norm = nn.BatchNorm1d(after)
            if last:
                norm.register_parameter("bias", None)
            modules.append(norm)
        if not last:
            modules.append(nn.ReLU(inplace=True))
    return nn.Sequential(*modules)


def linear_head(features: int, classes: int) -> nn.Linear:
    """The classifier D -> K: one linear layer with a bias, which gives logits."""
    return nn.Linear(features, classes)
