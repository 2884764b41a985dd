"""metrics.csv: one row for each epoch, also after a resume or when the file was damaged."""

from __future__ import annotations

import csv
import io
import os
import time
from pathlib import Path
from typing import Any, Protocol, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from simclr_med.atomic import write_text
from simclr_med.metrics_csv import read_rows


class HasEpochMetrics(Protocol):
    """A Lightning module that keeps the metrics of its last epoch."""

    epoch_metrics: dict[str, float]


class MetricsCsv(Callback):
    """Appends each epoch's metrics to metrics.csv and flushes them; a resumed run first drops the rows it will repeat.

    The checkpoint holds the rows too, so that a resumed run restores them even when the file is damaged or missing.

    Args:
        path: of metrics.csv.
        names: the metrics, in the order of the columns; a metric that an epoch does not have stays empty.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self.columns = ("epoch", "step", *names, "wall_s")
        self._rows: list[dict[str, str]] = []
        self._started: float | None = None
        self._before_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._restore(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._started is None:  # a resumed run whose last epoch was finished before
            self._restore(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Another process, which this one replaced, may have appended a row after the file was restored.
        if trainer.is_global_zero and read_rows(self.path) != self._rows:
            self._write()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert self._started is not None
        found = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            **cast(HasEpochMetrics, pl_module).epoch_metrics,
            "wall_s": round(self._before_s + time.monotonic() - self._started, 3),
        }
        row = {name: str(value) for name, value in found.items()}
        self._rows.append(dict.fromkeys(self.columns, "") | row)
        try:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writerow(row)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(self.path)  # the error of a failed write has no file name
            raise

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rows = state_dict["rows"]
        if not isinstance(rows, (list, tuple)) or not all(self._is_row(row) for row in rows):
            raise ValueError("a row does not fit the columns of metrics.csv")
        self._rows = list(rows)

    def _is_row(self, row: Any) -> bool:
        """Whether it has columns of this table only, all numbers or empty, and those that each row has."""
        if not isinstance(row, dict) or not {"epoch", "wall_s"} <= set(row) <= set(self.columns):
            return False
        try:
            return int(row["epoch"]) >= 0 and all(
                isinstance(cell, str) and float(cell or 0) is not None for cell in row.values()
            )
        except ValueError:
            return False

    def _restore(self, trainer: Trainer) -> None:
        """Rewrite the file with the epochs before this one, from the checkpoint and from the file's readable rows."""
        if not trainer.is_global_zero:
            return
        readable = (row for row in read_rows(self.path) if set(row) == set(self.columns))
        known = {int(row["epoch"]): row for row in (*readable, *self._rows)}
        self._rows = [known[epoch] for epoch in sorted(known) if epoch < trainer.current_epoch]
        lost = trainer.current_epoch - len(self._rows)
        if lost > 0:
            print(f"{self.path}: {lost} of {trainer.current_epoch} epochs are unreadable and left out.", flush=True)
        self._before_s = float(self._rows[-1]["wall_s"]) if self._rows else 0.0
        self._write()

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())
