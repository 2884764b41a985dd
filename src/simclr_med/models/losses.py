"""Losses: SimCLR's NT-Xent (Chen et al., arXiv 2002.05709, equation 1 and algorithm 1), and the classifier's."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from simclr_med.types import MULTI_LABEL, Task


def similarity_logits(
    projections_2BP: Tensor, temperature: float, gather: bool = True, patients_B: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return each anchor's logits ``cos(z_i, z_k) / temperature`` over the global batch, and its other view's column.

    In several processes, the candidates of all processes are gathered with their gradient. Every process must hold the
    same number of rows. Gradients of a mean over the local anchors, averaged over the processes (as DDP does), are
    those of one process with the global batch.

    Args:
        projections_2BP: float [2b, P]; this process's b images, first view, then the same b images, second view.
        temperature: above 0.
        gather: False uses this process's rows alone, for evaluation of the same images by every process.
        patients_B: int64 [b], the number of each image's patient, the same patient in both views: other images of the
            anchor's patient are then no negatives. None makes all images negatives.

    Returns:
        logits [2b, 2B] in float32 (float64 stays float64), -inf where the candidate is the anchor itself, or another
        image of its patient; column order: the first views of all processes by rank, then the second views. targets
        int64 [2b], columns.

    Raises:
        ValueError: an odd number of rows, or a temperature that is not positive.
    """
    if projections_2BP.ndim != 2 or len(projections_2BP) % 2 or not len(projections_2BP):
        raise ValueError(f"projections {tuple(projections_2BP.shape)}: expected [2b, P], two views of each image.")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: expected a number > 0.")
    images = len(projections_2BP) // 2
    # Autocast would compute the product in half precision.
    with torch.autocast(projections_2BP.device.type, enabled=False):
        exact = projections_2BP if projections_2BP.dtype == torch.float64 else projections_2BP.float()
        anchors = F.normalize(exact, dim=1)
        candidates, rank, world = gather_views(anchors) if gather else (anchors, 0, 1)
        logits = anchors @ candidates.T / temperature
    first = torch.arange(images, device=logits.device) + rank * images
    second = first + world * images
    itself = torch.cat([first, second])
    rows = torch.arange(2 * images, device=logits.device)
    logits = logits.index_put((rows, itself), logits.new_full((), float("-inf")))
    targets = torch.cat([second, first])
    if patients_B is not None:
        own = patients_B.repeat(2)[:, None]
        others = gather_views(own)[0] if gather else own
        is_masked = (own == others.T).index_put((rows, targets), torch.zeros((), dtype=torch.bool, device=own.device))
        logits = logits.masked_fill(is_masked, float("-inf"))
    return logits, targets


def nt_xent(
    projections_2BP: Tensor, temperature: float, gather: bool = True, patients_B: Tensor | None = None
) -> Tensor:
    """Return NT-Xent, the mean over this process's anchors of the loss of one anchor.

    The loss of anchor i with other view j is ``-log(exp(s_ij / t) / sum over k != i of exp(s_ik / t))``. The logarithm
    is natural; the loss of equal projections is log(2B - 1). The arguments and errors are those of
    ``similarity_logits``.
    """
    return F.cross_entropy(*similarity_logits(projections_2BP, temperature, gather, patients_B))


def contrastive_ranks(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the rank of each anchor's other view: how many candidates are at least as similar; 0 is a top-1 hit.

    Ties count against the anchor, so that the ranks of a collapsed encoder are the last.

    Args:
        logits: [2b, 2B], as ``similarity_logits`` returns them.
        targets: int64 [2b].

    Returns:
        int64 [2b] in [0, 2B - 2].
    """
    return (logits >= logits.gather(1, targets[:, None])).sum(dim=1) - 1


def gather_views(rows_2bX: Tensor) -> tuple[Tensor, int, int]:
    """Gather the rows of all processes with their gradient.

    Args:
        rows_2bX: this process's rows, first views and then second views of its b images.

    Returns:
        rows_2BX, the first views of all processes by rank and then their second views; this process's rank; and the
        number of processes.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows_2bX, 0, 1
    world = dist.get_world_size()
    gathered = _Gather.apply(rows_2bX)
    by_view = gathered.view(world, 2, len(rows_2bX) // 2, -1).transpose(0, 1)
    return by_view.reshape(world * len(rows_2bX), -1), dist.get_rank(), world


class _Gather(torch.autograd.Function):
    """All processes' rows, by rank; its gradient is the sum of all processes' gradients for these rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def classification_loss(
    task: Task,
    logits_BK: Tensor,
    labels_BL: Tensor,
    class_weight_K: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean cross-entropy of the true class; for a multi-label set, the mean binary one of all labels.

    With several processes, DDP averages their gradients. The average of the returned values is the loss of the global
    batch in one process, also if the processes have different numbers of rows or sums of class weights.

    Args:
        task: the kind of labels.
        logits_BK: of any float dtype.
        labels_BL: int64, in medmnist's layout.
        class_weight_K: weights of each class's images, or of the positive labels of a multi-label set, 0 or more.
        label_smoothing: part of the target, in [0, 1), that is spread evenly over the classes, or over the two values
            of each label (Szegedy et al., arXiv 1512.00567, section 7).
    """
    if task == MULTI_LABEL:
        targets_BK = labels_BL.to(logits_BK.dtype) * (1 - label_smoothing) + label_smoothing / 2
        total = F.binary_cross_entropy_with_logits(logits_BK, targets_BK, pos_weight=class_weight_K, reduction="sum")
        weight = total.new_tensor(float(logits_BK.numel()))
    else:
        labels_B = labels_BL[:, 0]
        total = F.cross_entropy(
            logits_BK, labels_B, weight=class_weight_K, reduction="sum", label_smoothing=label_smoothing
        )
        weight = total.new_tensor(float(len(labels_B))) if class_weight_K is None else class_weight_K[labels_B].sum()
    return total / _mean_over_processes(weight)


def _mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a value that has no gradient; the value itself in a single process."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
