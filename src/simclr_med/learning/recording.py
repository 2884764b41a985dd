"""metrics.csv: a row for each epoch, each epoch once, also after a resume."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any, Protocol, cast

from lightning.pytorch import Callback, LightningModule, Trainer


class Recorded(Protocol):
    """A Lightning module that tells each epoch's metrics."""

    epoch_metrics: dict[str, float]


class MetricsFile(Callback):
    """Appends every epoch's metrics and flushes them; a resumed run first drops the rows it will do again.

    Args:
        path: of metrics.csv.
        names: the metrics, in the order of the columns; one that an epoch does not have stays empty.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self.columns = ("epoch", "step", *names, "wall_s")
        self._started = time.monotonic()
        self._before_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        if not trainer.is_global_zero:
            return
        kept = [row for row in rows(self.path) if int(row["epoch"]) < trainer.current_epoch]
        self._before_s = float(kept[-1]["wall_s"]) if kept else 0.0
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)
            _sync(file)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            **cast(Recorded, pl_module).epoch_metrics,
            "wall_s": round(self._before_s + time.monotonic() - self._started, 3),
        }
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)
            _sync(file)


def rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a metrics.csv, as text; a last row that was cut short by a kill is left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return list(csv.DictReader(whole.splitlines()))


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
