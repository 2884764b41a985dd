"""One Lightning trainer for every stage that trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment

from simclr_med.training.callbacks.checkpoint import AtomicCheckpointIO
from simclr_med.training.devices import resolve_precision, silence_lightning


def build_trainer(
    node: Mapping[str, Any],
    strategy: Any,
    folder: Path,
    epochs: int,
    steps: int,
    accumulate: int,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> Trainer:
    """A trainer that takes its batches as they come, saves whole files and writes nowhere but into folder.

    Args:
        node: the config's group trainer.
        strategy: Lightning's flag or object.
        folder: of the run.
        epochs: of the whole run, those before a resume included.
        steps: of the optimizer in each epoch.
        accumulate: batches of one optimizer step.
        callbacks, loggers: the stage's own.
    """
    silence_lightning()
    return Trainer(
        accelerator=node["accelerator"],
        devices=node["devices"],
        strategy=strategy,
        precision=resolve_precision(node["precision"], node["accelerator"]),  # type: ignore[arg-type]
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        limit_train_batches=steps * accumulate,
        limit_val_batches=0,
        callbacks=list(callbacks),
        logger=list(loggers),
        # In a SLURM job Lightning would count its tasks and queue it again by itself; both are decided elsewhere.
        plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if isinstance(strategy, str) else [])],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
