"""The loss of distillation with unlabelled images (Chen et al., arXiv 2006.10029, section 2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from simclr_med.types import MULTI_LABEL, Task


def distillation_loss(task: Task, student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of each image between the teacher's and the student's probabilities, [B].

    ``-temperature^2 * sum over y of P_teacher(y) log P_student(y)`` with ``P(y) = softmax(logits / temperature)``
    (equation 2 of the paper). The factor temperature^2 is that of the released code
    (``colabs/distillation_self_training.ipynb``, ``add_kd_loss``) and keeps the gradients' size (Hinton et al., arXiv
    1503.02531, section 2). Labels of a multi-label set have a sigmoid each, and their losses are averaged.

    Args:
        task: the kind of labels.
        student_BK, teacher_BK: logits of the same images; only those of the student get a gradient.
        temperature: above 0.
    """
    student_BK, teacher_BK = student_BK / temperature, teacher_BK.detach().to(student_BK.dtype) / temperature
    if task == MULTI_LABEL:
        loss_BK = F.binary_cross_entropy_with_logits(student_BK, teacher_BK.sigmoid(), reduction="none")
        return temperature**2 * loss_BK.mean(dim=1)
    return temperature**2 * F.cross_entropy(student_BK, teacher_BK.softmax(dim=1), reduction="none")


def label_loss(task: Task, logits_BK: Tensor, labels_BL: Tensor) -> Tensor:
    """Return the cross-entropy of each image with its label, [B]; of a multi-label set, the mean over its labels.

    Args:
        task: the kind of labels.
        logits_BK: of any float dtype.
        labels_BL: int64, in medmnist's layout.
    """
    if task == MULTI_LABEL:
        targets_BK = labels_BL.to(logits_BK.dtype)
        return F.binary_cross_entropy_with_logits(logits_BK, targets_BK, reduction="none").mean(dim=1)
    return F.cross_entropy(logits_BK, labels_BL[:, 0], reduction="none")
