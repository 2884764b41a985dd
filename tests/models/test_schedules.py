"""Schedules against the whole list of factors."""

from __future__ import annotations

import math

import pytest
import torch

from simclr_med.models.schedules import constant, multistep, peak_step, warmup_cosine


def test_warmup_cosine_factors() -> None:
    factor = warmup_cosine(total_steps=8, steps_per_epoch=2, warmup_epochs=2, final_factor=0.2)
    half = math.sqrt(0.5)
    expected = [0, 0.25, 0.5, 0.75, 1, 0.2 + 0.4 * (1 + half), 0.6, 0.2 + 0.4 * (1 - half), 0.2, 0.2]
    assert [factor(step) for step in range(10)] == pytest.approx(expected, abs=1e-12)


def test_original_schedule_is_torchs_cosine_at_each_epoch() -> None:
    epochs, steps_per_epoch, lr = 7, 3, 5e-4
    factor = warmup_cosine(epochs * steps_per_epoch, steps_per_epoch, warmup_epochs=0, final_factor=0.02)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    original = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=lr / 50)
    for epoch in range(epochs):
        assert lr * factor(epoch * steps_per_epoch) == pytest.approx(original.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        original.step()
    assert factor(0) == 1
    assert lr * factor(epochs * steps_per_epoch) == pytest.approx(lr / 50)


def test_warmup_of_part_of_an_epoch() -> None:
    factor = warmup_cosine(total_steps=10, steps_per_epoch=4, warmup_epochs=0.5, final_factor=0)
    assert [factor(step) for step in range(3)] == [0, 0.5, 1]


def test_multistep_factors() -> None:
    factor = multistep(total_steps=20, steps_per_epoch=2, milestones=[0.6, 0.8], gamma=0.1)
    assert [factor(step) for step in range(21)] == pytest.approx([1] * 12 + [0.1] * 4 + [0.01] * 5)


def test_multistep_starts_with_an_epoch() -> None:
    factor = multistep(total_steps=21, steps_per_epoch=3, milestones=[0.5], gamma=0.5)
    assert [factor(step) for step in range(21)] == [1.0] * 12 + [0.5] * 9


def test_peak_is_where_the_warm_up_ends() -> None:
    assert peak_step(warmup_cosine(500, 5, warmup_epochs=5, final_factor=0), 500) == 25
    assert peak_step(warmup_cosine(500, 5, warmup_epochs=0, final_factor=0), 500) == 0
    assert peak_step(multistep(20, 2, milestones=[0.6, 0.8], gamma=0.1), 20) == 0
    assert peak_step(constant(3, 1), 3) == 0


def test_constant_factors() -> None:
    assert [constant(3, 1)(step) for step in range(5)] == [1.0] * 5


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: warmup_cosine(10, 5, warmup_epochs=2, final_factor=0), "warmup_epochs=2"),
        (lambda: warmup_cosine(10, 5, warmup_epochs=-1, final_factor=0), "warmup_epochs=-1"),
        (lambda: warmup_cosine(10, 5, warmup_epochs=0, final_factor=2), "final_factor=2"),
        (lambda: multistep(10, 5, milestones=[0.8, 0.6], gamma=0.1), "milestones="),
        (lambda: multistep(10, 5, milestones=[60, 80], gamma=0.1), "milestones="),
        (lambda: multistep(10, 5, milestones=[0.5], gamma=0), "gamma=0"),
        (lambda: constant(0, 1), "total_steps=0"),
    ],
)
def test_values_out_of_range_are_refused(build, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()
