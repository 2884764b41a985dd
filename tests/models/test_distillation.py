"""The loss of distillation: the paper's equation, its gradient, and multi-label sets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from simclr_med.models.distillation import distillation_loss, label_loss
from simclr_med.types import MULTI_LABEL

GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = torch.randn(2, 5, 4, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_loss_is_the_equation_of_the_paper(temperature: float) -> None:
    found = distillation_loss("multi-class", STUDENT, TEACHER, temperature)
    for image in range(5):
        odds = [torch.exp(logits[image] / temperature) for logits in (TEACHER, STUDENT)]
        teacher, student = (each / each.sum() for each in odds)
        expected = -(temperature**2) * sum(float(t * torch.log(s)) for t, s in zip(teacher, student, strict=True))
        assert float(found[image]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_gradient_is_the_difference_of_probabilities(temperature: float) -> None:
    student = STUDENT.clone().requires_grad_()
    distillation_loss("multi-class", student, TEACHER, temperature).sum().backward()
    p = [F.softmax(logits / temperature, dim=1) for logits in (STUDENT, TEACHER)]
    assert torch.allclose(student.grad, temperature * (p[0] - p[1]))  # type: ignore[arg-type]


def test_loss_is_smallest_for_the_teachers_own_logits() -> None:
    same = distillation_loss("multi-class", TEACHER, TEACHER, 1.0)
    assert bool((same < distillation_loss("multi-class", STUDENT, TEACHER, 1.0)).all())


def test_each_label_of_a_multi_label_set_has_a_sigmoid() -> None:
    found = distillation_loss(MULTI_LABEL, STUDENT, TEACHER, 2.0)
    s, t = torch.sigmoid(STUDENT / 2), torch.sigmoid(TEACHER / 2)
    assert torch.allclose(found, -4 * (t * s.log() + (1 - t) * (1 - s).log()).mean(dim=1))


def test_no_gradient_reaches_the_teacher() -> None:
    teacher, student = TEACHER.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    distillation_loss("multi-class", student, teacher, 1.0).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("task", ["multi-class", MULTI_LABEL])
def test_label_loss_is_torchs(task: Any) -> None:
    labels = torch.tensor([[1, 0, 1, 1]] * 5) if task == MULTI_LABEL else torch.tensor([[0], [3], [1], [2], [0]])
    found = label_loss(task, STUDENT, labels)
    if task == MULTI_LABEL:
        expected = F.binary_cross_entropy_with_logits(STUDENT, labels.double())
    else:
        expected = F.cross_entropy(STUDENT, labels[:, 0])
    assert found.shape == (5,)
    assert float(found.mean()) == pytest.approx(float(expected))
