"""Keep the handler of SIGTERM during a training in several processes."""

from __future__ import annotations

import signal
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class OwnSignals(Callback):
    """Restores the handler of SIGTERM that the process had before training.

    Lightning's handler waits for the other processes, which may have ended or may wait in another operation.
    """

    def __init__(self) -> None:
        self._handler: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGTERM, self._handler)
