"""A batch that passes through the network in parts, for a loss over all of it (GradCache, arXiv 2101.06983).

Gao et al., section 3.2: a first pass computes all projections and keeps no activations; the loss has a gradient for
each projection; a second pass computes each micro-batch again and continues the backward pass through it. This is
activation checkpointing (`torch.utils.checkpoint`) whose segments are the micro-batches, so that autograd, autocast and
DDP treat the whole batch as one. Memory is that of one micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from simclr_med.types import Batch

Project = Callable[[Batch], tuple[Tensor, Tensor]]


def project_parts(project: Project, batch: Batch, parts: int, module: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what ``project`` returns for the whole batch, computed in micro-batches.

    Batch norm uses the statistics of each micro-batch, and updates its running statistics with them in the first pass.

    Args:
        project: a batch's features_2BD and projections_2BP, first views and then second views. Its views are a function
            of the batch, so that the second pass has the same ones.
        batch: to project.
        parts: micro-batches of nearly equal size.
        module: that holds the weights of ``project``.
    """
    outputs = []
    for part in split_batch(batch, parts):
        # Weights that autocast has converted would be shared by all micro-batches, and their gradients summed in half
        # precision.
        torch.clear_autocast_cache()
        if torch.is_grad_enabled():
            outputs.append(checkpoint(project, part, use_reentrant=False, context_fn=lambda: _contexts(module)))
        else:
            outputs.append(project(part))
    features, projections = (_join_views(rows) for rows in zip(*outputs, strict=True))
    return features, projections


def split_batch(batch: Batch, parts: int) -> Iterator[Batch]:
    """Yield consecutive parts of one process's share of a batch; each is a share of the same global batch."""
    count, (first, _) = len(batch.images), batch.rows
    for part in range(min(parts, count)):
        start, stop = (count * number // min(parts, count) for number in (part, part + 1))
        own = slice(start, stop)
        yield batch._replace(
            images=batch.images[own],
            labels=None if batch.labels is None else batch.labels[own],
            indices=batch.indices[own],
            rows=(first + start, first + stop),
            partners=None if batch.partners is None else batch.partners[own],
            patients=None if batch.patients is None else batch.patients[own],
        )


def _join_views(parts: tuple[Tensor, ...]) -> Tensor:
    """Return the first views of all parts, then their second views."""
    return torch.cat([view for views in zip(*(rows.chunk(2) for rows in parts), strict=True) for view in views])


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first and of the second pass."""
    return nullcontext(), _keep_statistics(module)


@contextmanager
def _keep_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norm as they are; it still uses those of the batch."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
