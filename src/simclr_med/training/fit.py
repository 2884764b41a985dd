"""A training that one or several processes run with the same arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from simclr_med.runs.launch import Launch
from simclr_med.training.callbacks.own_signals import OwnSignals
from simclr_med.training.devices import launched_ddp, resolve_device
from simclr_med.training.trainer import build_trainer


@dataclass(frozen=True)
class Fit:
    """What all processes of a training share; it can be pickled.

    Attributes:
        node, folder, epochs, steps, accumulate, callbacks, validate_every: as in `build_trainer`.
        module: at its first step.
        data: of the module.
        checkpoint: to resume from; None starts at the first step.
    """

    node: Mapping[str, Any]
    folder: Path
    epochs: int
    steps: int
    accumulate: int
    callbacks: Sequence[Callback]
    validate_every: int | None
    module: LightningModule
    data: LightningDataModule
    checkpoint: Path | None

    @property
    def backend(self) -> str:
        """The library of torch.distributed that connects the processes."""
        return "nccl" if resolve_device(self.node["accelerator"]).type == "cuda" else "gloo"

    def prepare(self) -> None:
        """Read the data."""
        self.data.setup("fit")

    def train(
        self,
        launch: Launch | None,
        strategy: Any = None,
        first: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
    ) -> None:
        """Train in this process.

        Args:
            launch: the processes that a launcher started; None for this one and those that it starts itself.
            strategy: Lightning's, if launch is None; not used otherwise.
            first: callbacks of this process alone; they precede those of all processes.
            loggers: of this process.
        """
        trainer = build_trainer(
            self.node,
            strategy if launch is None else launched_ddp(launch),
            self.folder,
            self.epochs,
            self.steps,
            self.accumulate,
            callbacks=[*first, *self.callbacks, *([] if launch is None else [OwnSignals()])],
            loggers=loggers,
            validate_every=self.validate_every,
        )
        path = None if self.checkpoint is None else str(self.checkpoint)
        trainer.fit(self.module, datamodule=self.data, ckpt_path=path, weights_only=True)
