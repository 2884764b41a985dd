"""The student: the weights of the two losses, the images whose labels it reads, and its teacher."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simclr_med.augment.sequence import to_float
from simclr_med.models.distillation import distillation_loss, label_loss
from simclr_med.models.encoders import tiny
from simclr_med.models.heads import linear_head
from simclr_med.models.optimizers import sgd
from simclr_med.training.distillation import Student, Teacher
from simclr_med.types import Batch

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8))
LABELS = torch.tensor([[0], [1], [2], [0], [1], [2]])
LABELLED = torch.tensor([True, False, False, True, False, False])


class Plain(nn.Module):
    """No augmentation."""

    def forward(self, images: Any, key: Any, rows: Any, size: Any) -> Any:
        return to_float(images)


def build_student(alpha: float, temperature: float = 2.0) -> Student:
    torch.manual_seed(0)
    student = Student(
        encoder=tiny(),
        head=linear_head(64, 3),
        view=Plain(),
        to_float=to_float,
        task="multi-class",
        optimizer=partial(sgd, lr=0.1, momentum=0.0, weight_decay=0.0, decay_norm_and_bias=False),
        schedule=lambda: lambda step: 1.0,
        class_weight_K=None,
        validation=SimpleNamespace(),
        teacher=Teacher(tiny(), linear_head(64, 3)),
        temperature=temperature,
        alpha=alpha,
        labelled_N=LABELLED,
    )
    student._trainer = SimpleNamespace(world_size=1)  # type: ignore[assignment]
    return student


def batch(labels: Tensor | None = LABELS) -> Batch:
    return Batch(IMAGES, labels, torch.arange(6), (0, 0, 0), (0, 6), 6)


def loss_of(student: Student, labels: Tensor | None = LABELS) -> tuple[float, Tensor, Tensor]:
    """The loss of the batch, and the logits of student and teacher."""
    views = to_float(IMAGES)
    logits = student.eval().head(student.encoder(views))
    return student.compute_loss(logits, views, batch(labels)).item(), logits, student.teacher.predict_logits(views)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_loss_is_equation_3_over_the_images_of_the_batch(alpha: float) -> None:
    found, student, teacher = loss_of(build_student(alpha))
    soft = distillation_loss("multi-class", student, teacher, 2.0).sum()
    hard = label_loss("multi-class", student[LABELLED], LABELS[LABELLED]).sum()
    assert found == pytest.approx((alpha * soft + (1 - alpha) * hard).item() / 6, rel=1e-6)


def test_labels_outside_the_budget_are_not_read() -> None:
    other = torch.where(LABELLED[:, None], LABELS, 2 - LABELS)
    assert not torch.equal(other, LABELS)
    assert loss_of(build_student(0.3), other)[0] == loss_of(build_student(0.3))[0]
    inside = torch.where(LABELLED[:, None], 2 - LABELS, LABELS)
    assert loss_of(build_student(0.3), inside)[0] != loss_of(build_student(0.3))[0]


def test_teacher_alone_needs_no_labels() -> None:
    assert loss_of(build_student(1.0), None)[0] == loss_of(build_student(1.0))[0]


def test_two_processes_average_to_one() -> None:
    student = build_student(0.3)
    whole, logits, _ = loss_of(student)
    student._trainer = SimpleNamespace(world_size=2)  # type: ignore[assignment]
    parts = []
    for start, stop in ((0, 2), (2, 6)):
        rows = slice(start, stop)
        share = Batch(IMAGES[rows], LABELS[rows], torch.arange(start, stop), (0, 0, 0), (start, stop), 6)
        parts.append(student.compute_loss(logits[rows], to_float(IMAGES[rows]), share).item())
    assert np.mean(parts) == pytest.approx(whole, rel=1e-5)


def test_teacher_is_fixed_and_outside_the_checkpoint() -> None:
    student = build_student(1.0)
    before = {name: value.clone() for name, value in student.teacher.encoder.state_dict().items()}
    student.train()
    optimizer = student.configure_optimizers()["optimizer"]
    student.training_step(batch(), 0).backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in student.teacher.encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in student.teacher.encoder.parameters())
    assert {name.split(".")[0] for name in student.state_dict()} == {"encoder", "head"}
