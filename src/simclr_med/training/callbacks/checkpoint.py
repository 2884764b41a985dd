"""Checkpoints of a training run: when and how they are written, and which one a resumed run starts from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from simclr_med.atomic import write_atomically
from simclr_med.errors import CheckpointError
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.training.callbacks.metrics_csv import HasEpochMetrics


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints atomically and keeps the preceding last.ckpt as previous.ckpt."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        keep = target.with_name("previous.ckpt") if target.name == "last.ckpt" else None
        try:
            target.parent.mkdir(exist_ok=True)
            write_atomically(target, lambda file: torch.save(checkpoint, file), keep)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its zip writer
            why = f" ({error.strerror})" if isinstance(error, OSError) else ""
            raise CheckpointError(
                f"{target}: could not be written, with {_free_mib(target)} MiB free on its disk{why}. The earlier "
                "checkpoint stays. Free some space and repeat the command."
            ) from error


def _free_mib(path: Path) -> int:
    """Return the free space of the disk of path, whose folder may be missing."""
    return shutil.disk_usage(next(folder for folder in path.parents if folder.exists())).free >> 20


class Checkpoints(Callback):
    """Saves last.ckpt at the end of an epoch once every_s seconds have passed, and best.ckpt at the best epoch.

    Args:
        folder: of the checkpoints.
        every_s: seconds between two saves of last.ckpt; the final epoch is always saved.
        environment: what bit-identical results depend on; a run resumed under another environment says so.
        watched: the metric that chooses the best epoch; the first of equal epochs wins, epochs without it are skipped.
        higher: whether a higher value is better.
    """

    def __init__(
        self,
        folder: Path,
        every_s: float,
        environment: Mapping[str, Any],
        watched: str = "val/loss",
        higher: bool = False,
    ) -> None:
        self.folder, self.every_s, self.environment = folder, every_s, dict(environment)
        self.watched, self.sign = watched, -1.0 if higher else 1.0
        self.best = float("inf")
        self._saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = cast(HasEpochMetrics, pl_module).epoch_metrics.get(self.watched)
        if value is not None and self.sign * value < self.best:
            self.best = self.sign * value
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=True)
        final = trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop
        due = final or time.monotonic() - self._saved_at >= self.every_s
        # Every process takes part in saving, so they must agree although their clocks differ.
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            trainer.save_checkpoint(self.folder / "last.ckpt")
            self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "environment": self.environment}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        before = state_dict["environment"]
        changed = [
            f"{key} {before.get(key)} -> {now}" for key, now in self.environment.items() if before.get(key) != now
        ]
        if changed:
            print(
                f"Resuming in another environment ({'; '.join(changed)}): weights will not be bit-identical.",
                flush=True,
            )


def find_resumable(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest readable checkpoint and its content, and print a line when it is not last.ckpt.

    A damaged last.ckpt is removed, since the next save would replace the good previous.ckpt with it.

    Raises:
        CheckpointError: there are checkpoints, and none is readable.
    """
    damaged: list[CheckpointError] = []
    for name in ("last.ckpt", "previous.ckpt"):
        path = folder / name
        if not path.exists():
            continue
        try:
            content = load_checkpoint(path)
        except CheckpointError as error:
            damaged.append(error)
            continue
        if damaged:
            print(f"{damaged[0].problems[0]} Resuming from {name} (epoch {content['epoch'] + 1}) instead.", flush=True)
            (folder / "last.ckpt").unlink()
        return path, content
    if damaged:
        raise CheckpointError(
            f"{folder}: all checkpoints are damaged. Start the run again with overwrite=true."
        ) from damaged[0]
    return None
