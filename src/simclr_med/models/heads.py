"""Heads on an encoder: the projection head of the contrastive loss, and the classifier heads."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import Tensor, nn


def projection_head(
    features: int, hidden: int = 512, out: int = 128, layers: int = 2, batch_norm: bool = False
) -> nn.Sequential:
    """Return linear layers with ReLU between them, D -> hidden -> ... -> P.

    Without batch norm every linear layer has a bias: with 2 layers of 512 and 128 it is the thesis's head and has its
    keys (``0``, ``2``). With batch norm it is SimCLR's (arXiv 2002.05709, section 2.1; 2 layers in the
    paper, 3 by default in its released code): a norm after every linear layer, the last included; no bias in
    any linear layer, since the norm would subtract it; and no shift in the last norm, as in the released code
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
        raise ValueError(f"layers={layers}: expected an integer >= 1.")
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
    """Return the classifier head D -> K: one linear layer with a bias, whose outputs are logits."""
    return nn.Linear(features, classes)


def classifier_on(projection: Mapping[str, Tensor], features: int, classes: int) -> nn.Sequential:
    """Return a classifier on the first layer of a projection head: SimCLRv2's finetuning (arXiv 2006.10029, 3.2).

    Args:
        projection: state dict of a `projection_head` of 2 layers or more: its first linear layer, and batch norm where
            there is one, become the first of the classifier.
        features: D.
        classes: K.

    Raises:
        ValueError: the projection head has no hidden layer, or another width of features.
    """
    first = projection.get("0.weight")
    hidden = "2.weight" in projection or "3.weight" in projection
    if first is None or not hidden or first.shape[1] != features:
        raise ValueError(f"projection={sorted(projection)}: expected a head of 2 layers or more on {features} features")
    head = _hidden_and_linear(first, "0.bias" in projection, "1.running_mean" in projection, classes)
    count = len(head) - 2  # the layers that come from the projection head, before the ReLU
    kept = {name: value for name, value in projection.items() if int(name.split(".")[0]) < count}
    for index in range(count):
        head[index].load_state_dict({n.split(".", 1)[1]: v for n, v in kept.items() if n.startswith(f"{index}.")})
    return head


def classifier_from(state: Mapping[str, Tensor]) -> nn.Module:
    """Return the classifier of a state dict, with its weights: one linear layer, or that of `classifier_on`.

    Raises:
        ValueError: the state dict is of neither.
    """
    if set(state) == {"weight", "bias"}:
        classes, features = state["weight"].shape
        module: nn.Module = nn.Linear(features, classes, dtype=state["weight"].dtype)
    elif "0.weight" in state:
        last = max(int(name.split(".")[0]) for name in state)
        bias, norm = "0.bias" in state, "1.running_mean" in state
        module = _hidden_and_linear(state["0.weight"], bias, norm, len(state[f"{last}.bias"]))
    else:
        raise ValueError(f"state={sorted(state)[:3]}: not the state dict of a classifier.")
    try:
        module.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        raise ValueError(f"state={sorted(state)[:3]}: not the state dict of a classifier.") from error
    return module


def _hidden_and_linear(first: Tensor, bias: bool, norm: bool, classes: int) -> nn.Sequential:
    hidden, features = first.shape
    layers: list[nn.Module] = [nn.Linear(features, hidden, bias=bias)]
    layers += [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Linear(hidden, classes))
