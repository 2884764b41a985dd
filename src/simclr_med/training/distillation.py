"""A classifier that learns the predictions of another one, also on images without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from simclr_med.models.distillation import distillation_loss, label_loss
from simclr_med.models.encoders import Encoder
from simclr_med.training.classifier import Classifier
from simclr_med.types import Batch


@dataclass(frozen=True)
class Teacher:
    """A trained classifier. It is no part of the student's module, so that no checkpoint and no optimizer holds it.

    Attributes:
        encoder: images_BCHW in [0, 1] to features_BD.
        head: features_BD to logits_BK.
    """

    encoder: Encoder
    head: nn.Module

    @torch.no_grad()
    def predict_logits(self, views_BCHW: Tensor) -> Tensor:
        """Return the logits [B, K] of float32 images, on their device; both networks are in eval mode."""
        encoder, head = self.encoder.to(views_BCHW.device).eval(), self.head.to(views_BCHW.device).eval()
        features_BD = encoder(views_BCHW.to(next(encoder.parameters()).dtype))
        logits_BK: Tensor = head(features_BD.to(next(head.parameters()).dtype))
        return logits_BK


class Student(Classifier):
    """A classifier that learns a teacher's probabilities, and labels where there are some.

    The loss of a global batch of B images is ``(alpha * sum of the distillation losses + (1 - alpha) * sum of the label
    losses of its labelled images) / B``: equation 3 of Chen et al., arXiv 2006.10029, divided by the number of images.

    Args:
        teacher: its predictions on each augmented view are learned.
        temperature: of teacher and student, as in `distillation_loss`.
        alpha: weight of the distillation loss, in (0, 1].
        labelled_N: bool, the images of the training split whose labels may be read.
        arguments: of `Classifier`.
    """

    def __init__(
        self, *, teacher: Teacher, temperature: float, alpha: float, labelled_N: Tensor, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.teacher = teacher
        self.temperature = temperature
        self.alpha = alpha
        self.register_buffer("labelled_N", labelled_N, persistent=False)

    def compute_loss(self, logits_BK: Tensor, views_BCHW: Tensor, batch: Batch) -> Tensor:
        teacher_BK = self.teacher.predict_logits(views_BCHW)
        total = self.alpha * distillation_loss(self.task, logits_BK, teacher_BK, self.temperature).sum()
        if self.alpha < 1:
            assert batch.labels is not None, "the stage checks that there are labels"
            mask: Any = self.labelled_N
            chosen_B = mask[batch.indices]
            labels = label_loss(self.task, logits_BK[chosen_B], batch.labels[chosen_B])
            total = total + (1 - self.alpha) * labels.sum()
        # DDP averages the gradients of processes that may have different numbers of images.
        return total * self.trainer.world_size / batch.size
