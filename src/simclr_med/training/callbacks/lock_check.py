"""Stop a run whose lock file was removed, before it writes anything else."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from simclr_med.runs.lock import HeldLock


class LockCheck(Callback):
    """Raises RunError at the start of training and at the end of each epoch once the run's lock is lost.

    It stands first in the list of callbacks, so that it comes before those that write.

    Args:
        lock: of the run's folder.
    """

    def __init__(self, lock: HeldLock) -> None:
        self.lock = lock

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lock.check()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lock.check()
