"""How fast and how large a fit is: images a second in each epoch, and the process's own memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int | None:
    """Memory that no file backs (RssAnon), of this process; None where the system does not tell."""
    if not STATUS.exists():
        return None
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), None)


class Growth(Callback):
    """Notes the rate of each epoch (its steps alone), the most memory seen, and when the first step began and ended."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.anonymous: int | None = None
        self.first_step: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self.first_step:
            self.first_step.append(time.time())

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        found = anonymous_bytes()  # with all activations alive
        if found is not None:
            self.anonymous = max(found, self.anonymous or 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if len(self.first_step) == 1:
            self.first_step.append(time.time())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rates.append(pl_module.epoch_metrics["train/images_per_s"])  # type: ignore[index, union-attr]

    def told(self) -> dict[str, Any]:
        return {"rates": self.rates, "anonymous": self.anonymous}
