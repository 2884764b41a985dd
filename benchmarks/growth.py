"""Rate and memory of a fit: images per second of each epoch, and the memory of the process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

STATUS = Path("/proc/self/status")


def read_anonymous_bytes() -> int | None:
    """Return the anonymous memory of this process (RssAnon); None where the system does not provide it."""
    if not STATUS.exists():
        return None
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), None)


class Growth(Callback):
    """Records the rate of each epoch (training steps only), the peak memory, and the times of the first step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.anonymous: int | None = None
        self.first_step: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self.first_step:
            self.first_step.append(time.time())

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        used = read_anonymous_bytes()  # all activations exist at this point
        if used is not None:
            self.anonymous = max(used, self.anonymous or 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if len(self.first_step) == 1:
            self.first_step.append(time.time())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rates.append(pl_module.epoch_metrics["train/images_per_s"])  # type: ignore[index, union-attr]

    def to_dict(self) -> dict[str, Any]:
        return {"rates": self.rates, "anonymous": self.anonymous}
