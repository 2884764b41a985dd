"""Checkpoints of a training run: when and how they are written, and which one a resumed run starts from."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from simclr_med.atomic import write_atomically
from simclr_med.errors import CheckpointError, write_advice
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.training.callbacks.metrics_csv import HasEpochMetrics

NAMES = ("last.ckpt", "previous.ckpt")  # from the newest


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints atomically and keeps the preceding last.ckpt as previous.ckpt."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        last, previous = NAMES
        keep = target.with_name(previous) if target.name == last else None
        failure: list[OSError] = []
        try:
            target.parent.mkdir(exist_ok=True)
            write_atomically(target, partial(_save, checkpoint, failure), keep)
        except (OSError, RuntimeError) as error:
            cause = error if isinstance(error, OSError) else next(iter(failure), None)
            why = f" ({cause.strerror})" if cause is not None else ""
            raise CheckpointError(
                f"{target}: could not be written, with {_free_mib(target)} MiB free on its disk{why}. The earlier "
                f"checkpoint stays. {write_advice(cause)}, then repeat the command."
            ) from error


def _save(checkpoint: dict[str, Any], failure: list[OSError], file: BinaryIO) -> None:
    torch.save(checkpoint, cast(BinaryIO, _Recorder(file, failure)))


class _Recorder:
    """A file for `torch.save`, whose zip writer replaces a disk's error by a RuntimeError without its reason."""

    def __init__(self, file: BinaryIO, failure: list[OSError]) -> None:
        self._file, self._failure = file, failure

    def write(self, content: Any) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self._failure.append(error)
            raise

    def flush(self) -> None:
        self._file.flush()


def _free_mib(path: Path) -> int:
    """Return the free space of the disk of path, whose folder may be missing."""
    return shutil.disk_usage(next(folder for folder in path.parents if folder.exists())).free >> 20


class Checkpoints(Callback):
    """Saves last.ckpt at the end of an epoch once every_s seconds have passed, and best.ckpt at the best epoch so far.

    Args:
        folder: of the checkpoints.
        every_s: seconds between two saves of last.ckpt; the final epoch is always saved.
        environment: what bit-identical results depend on; a run resumed under another environment says so.
        watched: the metric that chooses the best epoch; the first of equal epochs wins, epochs without it are skipped.
            None chooses no epoch and saves no best.ckpt.
        higher: whether a higher value is better.
        first: the first epoch that may be chosen, counted from 0; those before it belong to the warm-up.
    """

    def __init__(
        self,
        folder: Path,
        every_s: float,
        environment: Mapping[str, Any],
        watched: str | None = None,
        higher: bool = False,
        first: int = 0,
    ) -> None:
        self.folder, self.every_s, self.environment = folder, every_s, dict(environment)
        self.watched, self.sign = watched, -1.0 if higher else 1.0
        self.first = first
        self.best = float("inf")
        self._environment_before: dict[str, Any] | None = None
        self._saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.watched is not None and trainer.current_epoch >= self.first:
            value = self.sign * cast(HasEpochMetrics, pl_module).epoch_metrics[self.watched]
            if value < self.best:
                self.best = value
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
        if not isinstance(state_dict["best"], (int, float)) or math.isnan(state_dict["best"]):
            raise ValueError(f"best is {state_dict['best']!r}")
        self.best = state_dict["best"]
        self._environment_before = dict(state_dict["environment"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        before = self._environment_before
        if before is None or not trainer.is_global_zero:
            return
        changed = [
            f"{key} {before.get(key)} -> {now}" for key, now in self.environment.items() if before.get(key) != now
        ]
        if changed:
            print(
                f"Resuming in another environment ({'; '.join(changed)}): weights will not be bit-identical.",
                flush=True,
            )


def find_resumable(
    folder: Path, find_flaw: Callable[[Mapping[str, Any]], str | None] = lambda content: None
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest usable checkpoint and its content, and print a line when it is not last.ckpt.

    An unusable last.ckpt is removed, since the next save would replace the good previous.ckpt with it.

    Args:
        folder: of the checkpoints.
        find_flaw: returns why training cannot resume from a checkpoint's content, or None.

    Raises:
        CheckpointError: there are checkpoints, and none is usable.
    """
    unusable: list[str] = []
    for name in NAMES:
        path = folder / name
        if not path.exists():
            continue
        try:
            content = load_checkpoint(path)
            flaw = find_flaw(content)
        except CheckpointError as error:
            unusable.append(error.problems[0])
            continue
        if flaw is not None:
            unusable.append(f"checkpoint={path}: the run cannot resume from it ({flaw}).")
            continue
        if unusable:
            print(f"{unusable[0]} Resuming from {name} (epoch {content['epoch'] + 1}) instead.", flush=True)
            (folder / NAMES[0]).unlink()
        return path, content
    if unusable:
        raise CheckpointError(f"{unusable[0]} No other checkpoint is usable. Start the run again with overwrite=true.")
    return None
