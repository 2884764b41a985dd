"""Overhead of Lightning, logging and monitors: epochs of the real command against epochs of a bare loop.

As a script (OUT.json BEGAN OVERRIDE...) it runs the real command. After each epoch a bare loop repeats the epoch on a
copy of the model with the same batches, views, network, loss, optimizer and schedule, and nothing else. Both share one
process and one machine; W&B's process runs beside both. The ten epochs of bench.py include one validation and the
saving of the checkpoint, which are the defaults of ten epochs.
"""

from __future__ import annotations

import statistics
from copy import deepcopy
from typing import Any

import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from real_command import record
from rich.table import Table
from spread import format_spread, spread
from stopwatch import create_clock
from torch.optim.lr_scheduler import LambdaLR

from simclr_med.models.losses import similarity_logits


class BareLoop:
    """The bare training step on a copy of the network."""

    def __init__(self, trainer: Trainer, module: Any) -> None:
        self.module, self.trainer = module, trainer
        self.encoder, self.head = deepcopy(module.encoder), deepcopy(module.head)
        named = [*self.encoder.named_parameters(), *self.head.named_parameters(prefix="head")]
        self.optimizer = module.optimizer(named)
        self.scheduler = LambdaLR(self.optimizer, module.schedule())

    def run_epoch(self) -> None:
        """Train for the trainer's current epoch."""
        autocast = self.trainer.precision_plugin.forward_context
        for batch in self.trainer.datamodule.train_dataloader():  # type: ignore[attr-defined]
            images = batch.images.to(self.module.device, non_blocking=True)
            with autocast():
                views_2BCHW = self.module.views(images, batch.key, batch.rows, batch.size)
                logits, targets = similarity_logits(self.head(self.encoder(views_2BCHW)), self.module.temperature)
                loss = F.cross_entropy(logits, targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()

    def compare_weights(self) -> float:
        """Return the largest difference to a weight of the trained module; 0 if both did the same training."""
        pairs = ((self.encoder, self.module.encoder), (self.head, self.module.head))
        return max(
            float((a.detach() - b.detach()).abs().max())
            for ours, theirs in pairs
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
        )


class Overhead(Callback):
    """Runs a bare epoch after each epoch and times both, in seconds; must be the last callback."""

    def __init__(self) -> None:
        self.stage: list[float] = []
        self.bare: list[float] = []
        self.apart = float("nan")
        self.steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.now, self.loop = create_clock(pl_module.device), BareLoop(trainer, pl_module)
        BareLoop(trainer, pl_module).run_epoch()  # so that neither side includes the process's slow first steps
        self.steps = int(trainer.num_training_batches)
        self.began = self.now()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ended = self.now()
        self.stage.append(ended - self.began)
        self.loop.run_epoch()
        self.began = self.now()
        self.bare.append(self.began - ended)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stage[-1] += self.now() - self.began
        self.apart = self.loop.compare_weights()


def compute_overhead(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the overhead in %: of epochs without validation (``epoch``), and of all epochs (``all``).

    ``all`` compares the median epoch for the epochs without validation plus the last epoch with as many median bare
    epochs, so that a short slow phase of the machine does not count.
    """
    stage, bare = report["stage"], report["bare"]
    total = (len(stage) - 1) * statistics.median(stage[:-1]) + stage[-1]
    return {
        "epoch": spread([100 * (a / b - 1) for a, b in zip(stage[:-1], bare[:-1], strict=True)]),
        "all": spread([100 * (total / len(bare) / statistics.median(bare) - 1)]),
    }


def build_table(report: dict[str, Any]) -> Table:
    """Return the milliseconds per step of both, and the overhead."""
    stage, bare, steps = report["stage"], report["bare"], report["steps"]
    percent, epochs = compute_overhead(report), len(stage)
    table = Table("", "real command, ms/step", "bare loop, ms/step", "overhead, %")
    table.title = f"Lightning, logging, monitors: {epochs} epochs of {steps} steps: median (min-max)"
    table.add_row(
        "epoch without validation",
        *(format_spread(spread([1e3 * seconds / steps for seconds in side[:-1]]), 1) for side in (stage, bare)),
        format_spread(percent["epoch"], 1),
    )
    table.add_row(f"all {epochs} epochs", "", "", f"{percent['all']['median']:.1f}")
    last = [1e3 * side[-1] / steps for side in (stage, bare)]
    overhead = f"{100 * (last[0] / last[1] - 1):.1f}"
    table.add_row("last epoch, with validation and saving", *(f"{ms:.1f}" for ms in last), overhead)
    table.caption = f"Largest difference between the weights of both at the end: {report['apart']:.1g}."
    return table


if __name__ == "__main__":
    record(
        Overhead, lambda callbacks: {name: getattr(callbacks[0], name) for name in ("stage", "bare", "apart", "steps")}
    )
