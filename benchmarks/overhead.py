"""What Lightning, logging and monitors cost: epochs of the real command against epochs of a bare loop, in turns.

As a script (OUT.json BEGAN WORD...) it runs the real command with these words. After each of its epochs a bare loop
does the same epoch on a copy of the model: the same batches, views, network, loss, optimizer and schedule, and nothing
else. Both are in one process and meet the same machine; W&B's own process runs beside both. In ten epochs, bench.py's
number, there is the one look at the validation split that ten epochs have by default, and the saving.
"""

from __future__ import annotations

import statistics
from copy import deepcopy
from typing import Any

import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from real_command import note
from rich.table import Table
from spread import spread, told
from stopwatch import clock
from torch.optim.lr_scheduler import LambdaLR

from simclr_med.models.losses import similarity_logits


class BareLoop:
    """The training step with nothing around it, on a copy of the network."""

    def __init__(self, trainer: Trainer, module: Any) -> None:
        self.module, self.trainer = module, trainer
        self.encoder, self.head = deepcopy(module.encoder), deepcopy(module.head)
        named = [*self.encoder.named_parameters(), *self.head.named_parameters(prefix="head")]
        self.optimizer = module.optimizer(named)
        self.scheduler = LambdaLR(self.optimizer, module.schedule())

    def epoch(self) -> None:
        """The epoch that the trainer is in."""
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

    def apart(self) -> float:
        """The most that a weight is away from the trained module's: 0 where both did the very same work."""
        pairs = ((self.encoder, self.module.encoder), (self.head, self.module.head))
        return max(
            float((a.detach() - b.detach()).abs().max())
            for ours, theirs in pairs
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
        )


class Overhead(Callback):
    """Does a bare epoch after each of the fit's and times both, in seconds. Last of the callbacks."""

    def __init__(self) -> None:
        self.stage: list[float] = []
        self.bare: list[float] = []
        self.apart = float("nan")
        self.steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.now, self.loop = clock(pl_module.device), BareLoop(trainer, pl_module)
        BareLoop(trainer, pl_module).epoch()  # so that neither side has the process's first, slow steps
        self.steps = int(trainer.num_training_batches)
        self.began = self.now()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ended = self.now()
        self.stage.append(ended - self.began)
        self.loop.epoch()
        self.began = self.now()
        self.bare.append(self.began - ended)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stage[-1] += self.now() - self.began
        self.apart = self.loop.apart()


def overheads(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """% that the real command takes above the bare loop: in epochs without a look, and over all with the last one's.

    Over all: the median epoch for those without a look, then the last epoch, against as many median bare epochs; so
    that a moment in which the machine was slow counts on neither side.
    """
    stage, bare = report["stage"], report["bare"]
    with_look = (len(stage) - 1) * statistics.median(stage[:-1]) + stage[-1]
    return {
        "epoch": spread([100 * (a / b - 1) for a, b in zip(stage[:-1], bare[:-1], strict=True)]),
        "all": spread([100 * (with_look / len(bare) / statistics.median(bare) - 1)]),
    }


def table(report: dict[str, Any]) -> Table:
    """Milliseconds a step of both, and what is above."""
    stage, bare, steps = report["stage"], report["bare"], report["steps"]
    found, epochs = overheads(report), len(stage)
    made = Table("", "real command, ms/step", "bare loop, ms/step", "above it, %")
    made.title = f"Lightning, logging, monitors: {epochs} epochs of {steps} steps of each in turns: median (min-max)"
    made.add_row(
        "an epoch without a look",
        *(told(spread([1e3 * seconds / steps for seconds in side[:-1]]), 1) for side in (stage, bare)),
        told(found["epoch"], 1),
    )
    made.add_row(f"{epochs} epochs, a look, saving", "", "", f"{found['all']['median']:.1f}")
    last = [1e3 * side[-1] / steps for side in (stage, bare)]
    made.add_row("of them the last, with both", *(f"{ms:.1f}" for ms in last), f"{100 * (last[0] / last[1] - 1):.1f}")
    made.caption = f"Afterwards their weights are at most {report['apart']:.1g} apart."
    return made


if __name__ == "__main__":
    note(Overhead, lambda watching: {name: getattr(watching[0], name) for name in ("stage", "bare", "apart", "steps")})
