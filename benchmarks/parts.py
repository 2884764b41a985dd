"""Time of each part of the real command's training step; the sum is the whole training, including ends of epochs.

As a script (OUT.json BEGAN OVERRIDE...) it runs the real command and times its parts. On a GPU every part waits for the
device, so the sum is larger than the time of the step without measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from real_command import record
from rich.table import Table
from spread import format_spread, spread
from stopwatch import Stopwatch, create_clock

from simclr_med.data.loader import Batches
from simclr_med.training.callbacks.checkpoint import Checkpoints
from simclr_med.types import Batch

LOAD, AUGMENT, FORWARD, LOSS = "load", "augment", "forward", "loss and its ranks"
BACKWARD, OPTIMIZER, MONITORS, LIGHTNING = "backward", "optimizer and schedule", "monitors and logging", "Lightning"
VALIDATION, SAVING = "validation", "saving"
STEP = (LOAD, AUGMENT, FORWARD, LOSS, BACKWARD, OPTIMIZER, MONITORS, LIGHTNING)
# The first epoch warms up, and the last one validates and saves; both are excluded from the times of the steps.
EXCLUDED_EPOCHS = 2


class Parts(Callback):
    """Times the parts of each epoch; must be the last callback, so that it times the others."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        watch = Stopwatch(create_clock(pl_module.device), LIGHTNING, frozenset((VALIDATION,)))
        self.watch, self.steps = watch, int(trainer.num_training_batches)
        _time_loading(watch)
        for part, inner in ((AUGMENT, "views"), (FORWARD, "encoder"), (FORWARD, "head")):
            module = getattr(pl_module, inner)
            module.register_forward_pre_hook(lambda *_, part=part: watch.start(part))
            module.register_forward_hook(lambda *_: watch.stop())
        (optimizer,) = trainer.optimizers
        optimizer.register_step_pre_hook(lambda *_: watch.start(OPTIMIZER))
        optimizer.register_step_post_hook(lambda *_: watch.stop())
        timed = [
            (LOAD, trainer.strategy, "batch_to_device"),
            (LOSS, pl_module, "training_step"),
            (BACKWARD, trainer.strategy, "backward"),
            (OPTIMIZER, pl_module, "lr_scheduler_step"),
            (MONITORS, pl_module, "on_before_optimizer_step"),
            (MONITORS, pl_module, "on_train_batch_end"),
            (VALIDATION, trainer.fit_loop.epoch_loop.val_loop, "run"),
            *((MONITORS, logger, "log_metrics") for logger in trainer.loggers),
        ]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if callback is not self:
                part = SAVING if isinstance(callback, Checkpoints) else MONITORS
                timed += [(part, callback, hook) for hook in ("on_train_batch_end", "on_train_epoch_end")]
        for part, owner, name in timed:
            setattr(owner, name, watch.wrap(part, getattr(owner, name)))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append(self.watch.lap())


def _time_loading(watch: Stopwatch) -> None:
    """Time the loading of every batch from any `Batches` of this process."""
    iterate = Batches.__iter__

    def timed(batches: Batches) -> Iterator[Batch]:
        iterator = iterate(batches)
        while True:
            with watch.timed(LOAD):
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch

    Batches.__iter__ = timed  # type: ignore[method-assign]


def compute_shares(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return for each part its ms per step and its share of the step in %: min, median and max over the epochs."""
    counted = report["epochs"][1:-1]
    whole = [sum(epoch.get(part, 0.0) for part in STEP) for epoch in counted]
    seconds_of = {part: [epoch.get(part, 0.0) for epoch in counted] for part in STEP}
    seconds_of[f"{LOAD} and {AUGMENT}"] = [a + b for a, b in zip(seconds_of[LOAD], seconds_of[AUGMENT], strict=True)]
    seconds_of["whole step"] = whole
    return {
        name: {
            "ms": spread([1e3 * seconds / report["steps"] for seconds in values]),
            "share": spread([100 * seconds / all_s for seconds, all_s in zip(values, whole, strict=True)]),
        }
        for name, values in seconds_of.items()
    }


def build_table(report: dict[str, Any]) -> Table:
    """Return the table of the parts: median (min-max) over the epochs."""
    epochs, steps = len(report["epochs"]) - EXCLUDED_EPOCHS, report["steps"]
    table = Table("part of the step", "ms", "%", title=f"Parts of the step, {epochs} epochs of {steps} steps")
    for name, share in compute_shares(report).items():
        if name == f"{LOAD} and {AUGMENT}":
            table.add_section()
        table.add_row(name, format_spread(share["ms"], 1), format_spread(share["share"], 1))
    last = report["epochs"][-1]
    table.caption = "Last epoch: " + ", ".join(f"{part} {last.get(part, 0.0):.2f} s" for part in (VALIDATION, SAVING))
    return table


if __name__ == "__main__":
    record(Parts, lambda callbacks: {"epochs": callbacks[0].epochs, "steps": callbacks[0].steps})
