"""The lines of a training's progress count steps of the optimizer, and the bar has the word of every stage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import rich.console
import torch

from simclr_med.training.callbacks import progress
from simclr_med.training.callbacks.progress import FIRST_ESTIMATE, ProgressLine


def train(line: ProgressLine, accumulate: int, batches: int) -> None:
    """Two epochs of 40 batches; so many of the first are trained."""
    trainer: Any = SimpleNamespace(
        num_training_batches=40,
        max_epochs=2,
        current_epoch=0,
        accumulate_grad_batches=accumulate,
        is_global_zero=True,
    )
    module: Any = None
    line.on_train_start(trainer, module)
    for batch in range(batches):
        line.on_train_batch_end(trainer, module, {"loss": torch.tensor(1.0)}, None, batch)


@pytest.mark.parametrize(("accumulate", "counts"), [(1, "70 of 80 steps"), (4, "18 of 20 steps")])
def test_estimate_counts_steps_of_the_optimizer(
    capsys: pytest.CaptureFixture[str], accumulate: int, counts: str
) -> None:
    train(ProgressLine(8), accumulate, FIRST_ESTIMATE)
    assert f" left for {counts}\n" in capsys.readouterr().out


def test_bar_counts_steps_and_names_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda: rich.console.Console(force_terminal=True, width=100))
    line = ProgressLine(8)
    train(line, 4, 9)
    bar = line._bar
    assert bar is not None
    (task,) = bar.tasks
    line.teardown(None, None, "fit")  # type: ignore[arg-type]
    assert (task.description, task.completed, task.total) == ("training", 2, 20)
