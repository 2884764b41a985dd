"""Validation after the last epoch, whatever its number."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer


class FinalValidation(Callback):
    """Validates every n epochs and after the last one; Lightning alone validates only every n epochs.

    Args:
        every: n, 1 or more.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_last = trainer.current_epoch + 1 == trainer.max_epochs
        trainer.check_val_every_n_epoch = 1 if is_last else self.every
