"""The parts of the real command's training step; together they are the whole of it, epochs' ends included.

As a script (OUT.json BEGAN WORD...) it runs the real command with these words and times its parts. On a GPU every part
waits until the device has done its work, so that the sum is somewhat above the step's time when left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from real_command import note
from rich.table import Table
from spread import spread, told
from stopwatch import Stopwatch, clock

from simclr_med.data.loader import Batches
from simclr_med.training.callbacks.checkpoint import Checkpoints
from simclr_med.types import Batch

LOAD, AUGMENT, FORWARD, LOSS = "load", "augment", "forward", "loss and its ranks"
BACKWARD, OPTIMIZER, MONITORS, LIGHTNING = "backward", "optimizer and schedule", "monitors and logging", "Lightning"
LOOK, SAVING = "a look at the validation split", "saving"
STEP = (LOAD, AUGMENT, FORWARD, LOSS, BACKWARD, OPTIMIZER, MONITORS, LIGHTNING)
# The first epoch warms up, the last one looks at the validation split and saves: neither counts as training steps.
LEFT_OUT = 2


class Parts(Callback):
    """Times the parts of each epoch of a fit. Last of the callbacks, so that it sees the others' work."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        watch = Stopwatch(clock(pl_module.device), LIGHTNING, frozenset((LOOK,)))
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
            (LOOK, pl_module, "look"),
            *((MONITORS, logger, "log_metrics") for logger in trainer.loggers),
        ]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if callback is not self:
                part = SAVING if isinstance(callback, Checkpoints) else MONITORS
                timed += [(part, callback, hook) for hook in ("on_train_batch_end", "on_train_epoch_end")]
        for part, owner, name in timed:
            setattr(owner, name, watch.timing(part, getattr(owner, name)))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append(self.watch.lap())


def _time_loading(watch: Stopwatch) -> None:
    """Charge the work of every batch that is taken from any `Batches` of this process from now on."""
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


def words(data: str, runs: str, epochs: int = 5) -> list[str]:
    """Of the real command, with everything that is not said at its default."""
    return ["stage=pretrain", "dataset=npz", f"dataset.path={data}", f"stage.epochs={epochs}", f"paths.runs={runs}"]


def shares(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """part -> ms of a step, and % of a step -> min, median and max over the epochs that count."""
    counted = report["epochs"][1:-1]
    whole = [sum(epoch.get(part, 0.0) for part in STEP) for epoch in counted]
    found = {part: [epoch.get(part, 0.0) for epoch in counted] for part in STEP}
    found[f"{LOAD} and {AUGMENT}"] = [a + b for a, b in zip(found[LOAD], found[AUGMENT], strict=True)]
    found["the whole step"] = whole
    return {
        name: {
            "ms": spread([1e3 * seconds / report["steps"] for seconds in values]),
            "share": spread([100 * seconds / all_s for seconds, all_s in zip(values, whole, strict=True)]),
        }
        for name, values in found.items()
    }


def table(report: dict[str, Any]) -> Table:
    """Each part: median (min-max) over the epochs."""
    epochs, steps = len(report["epochs"]) - LEFT_OUT, report["steps"]
    made = Table("part of the step", "ms", "%", title=f"The step's parts, {epochs} epochs of {steps} steps")
    for name, found in shares(report).items():
        if name == f"{LOAD} and {AUGMENT}":
            made.add_section()
        made.add_row(name, told(found["ms"], 1), told(found["share"], 1))
    last = report["epochs"][-1]
    made.caption = ", ".join(f"{part} {last.get(part, 0.0):.2f} s" for part in (LOOK, SAVING)) + " (the last epoch's)"
    return made


if __name__ == "__main__":
    note(Parts, lambda watching: {"epochs": watching[0].epochs, "steps": watching[0].steps})
