"""The Lightning trainer of every stage that trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.profilers import SimpleProfiler

from simclr_med.training.callbacks.checkpoint import AtomicCheckpointIO
from simclr_med.training.callbacks.cuda_graphs import CudaGraphs
from simclr_med.training.callbacks.final_validation import FinalValidation
from simclr_med.training.devices import Arithmetic, resolve_precision, silence_lightning


def build_trainer(
    node: Mapping[str, Any],
    strategy: Any,
    folder: Path,
    epochs: int,
    steps: int,
    accumulate: int,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    validate_every: int | None = None,
) -> Trainer:
    """Build a trainer that writes checkpoints atomically and writes only into folder.

    Args:
        node: the config's group trainer.
        strategy: Lightning's flag or strategy object.
        folder: of the run.
        epochs: epochs of the whole run, including those before a resume.
        steps: optimizer steps of an epoch.
        accumulate: batches of one optimizer step.
        callbacks, loggers: of the stage.
        validate_every: epochs between two runs of Lightning's validation loop, which also follows the last epoch; None
            never runs it.
    """
    silence_lightning()
    return Trainer(
        accelerator=node["accelerator"],
        num_nodes=node["nodes"],
        devices=node["devices"],
        strategy=strategy,
        precision=resolve_precision(node["precision"], node["accelerator"]),  # type: ignore[arg-type]
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=node["gradient_clip_val"],
        limit_train_batches=steps * accumulate,
        limit_val_batches=0 if validate_every is None else None,
        check_val_every_n_epoch=validate_every or 1,
        callbacks=[
            Arithmetic(node["precision"], node["threads"]),
            *([CudaGraphs()] if node["cuda_graphs"] else []),
            *callbacks,
            *([] if validate_every is None else [FinalValidation(validate_every)]),
        ],
        logger=list(loggers),
        profiler=SimpleProfiler(str(folder), "profile") if node["profile"] else None,
        # In a SLURM job Lightning would otherwise count tasks and requeue the job by itself.
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
