"""The key names of the original system's checkpoints (Zenodo record 8048780), told apart by their content."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def is_probe(state: Mapping[str, Tensor]) -> bool:
    """Whether this is its "logistic regression": one linear layer on cached features, without an encoder."""
    return set(state) == {"model.weight", "model.bias"}


def is_pretraining(state: Mapping[str, Tensor]) -> bool:
    """Whether this is its SimCLR model: ``convnet.*``, with the projection head in place of the classifier."""
    return "convnet.conv1.weight" in state


def is_classifier(state: Mapping[str, Tensor]) -> bool:
    """Whether this is its finetuned or baseline model: ``backbone.*``, with the classifier in ``backbone.fc``."""
    return "backbone.conv1.weight" in state
