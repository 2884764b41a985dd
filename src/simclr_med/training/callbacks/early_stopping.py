"""Early stopping that a resumed run takes up where it was."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from simclr_med.training.callbacks.metrics_csv import HasEpochMetrics


class EarlyStopping(Callback):
    """Ends training once so many epochs in a row were no better than the best before them.

    Lightning runs its own EarlyStopping after every other callback, so that a state saved at the end of an epoch does
    not know of that epoch's look; this one stands before `Checkpoints` in the list and is saved with it.

    Args:
        watched: the metric that is waited for; an epoch in which it is not a number is no better.
        higher: whether more is better.
        epochs: how many to wait for a better one, 1 or more.
    """

    def __init__(self, watched: str, higher: bool, epochs: int) -> None:
        self.watched, self.sign, self.epochs = watched, -1.0 if higher else 1.0, epochs
        self.best = float("inf")
        self.waited = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = self.sign * cast(HasEpochMetrics, pl_module).epoch_metrics[self.watched]
        better = value < self.best
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        if trainer.strategy.reduce_boolean_decision(self.waited >= self.epochs, all=False):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "ended": self.waited >= self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.waited = state_dict["best"], state_dict["waited"]
