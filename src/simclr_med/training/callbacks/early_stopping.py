"""Early stopping whose state is saved with the checkpoint, so that a resumed run continues it exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from simclr_med.training.callbacks.metrics_csv import HasEpochMetrics


class EarlyStopping(Callback):
    """Stops training after a number of epochs in a row without improvement.

    Lightning runs its own EarlyStopping after every other callback, so a checkpoint saved at the end of an epoch misses
    that epoch's validation. This callback stands before `Checkpoints` in the list and is saved with it.

    Args:
        watched: the metric to improve; an epoch in which it is NaN is no improvement.
        higher: whether a higher value is better.
        epochs: number of epochs without improvement, 1 or more.
        first: the first epoch that counts, counted from 0; those before it belong to the warm-up.
    """

    def __init__(self, watched: str, higher: bool, epochs: int, first: int = 0) -> None:
        self.watched = watched
        self.sign = -1.0 if higher else 1.0
        self.epochs = epochs
        self.first = first
        self.best = float("inf")
        self.waited = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch < self.first:
            return
        value = self.sign * cast(HasEpochMetrics, pl_module).epoch_metrics[self.watched]
        better = value < self.best
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        if trainer.strategy.reduce_boolean_decision(self.waited >= self.epochs, all=False):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "ended": self.waited >= self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best, waited = state_dict["best"], state_dict["waited"]
        if not isinstance(best, (int, float)) or math.isnan(best):
            raise ValueError(f"best is {best!r}")
        if not isinstance(waited, int) or waited < 0 or state_dict["ended"] != (waited >= self.epochs):
            raise ValueError(f"waited is {waited!r}")
        self.best, self.waited = best, waited


def epochs_to_train(content: Mapping[str, Any], epochs: int) -> int:
    """Return the epochs of a run that resumes: fewer if its checkpoint was saved when early stopping had ended it.

    Args:
        content: of the checkpoint.
        epochs: of the stage.
    """
    state = content["callbacks"].get(EarlyStopping.__name__, {})
    return int(content["epoch"]) + 1 if state.get("ended", False) else epochs
