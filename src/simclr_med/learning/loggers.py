"""Where metrics go besides metrics.csv: each function is one entry of a YAML of the group logger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import wandb
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from simclr_med.learning.reachable import wandb_mode


def wandb_logger(
    folder: Path, name: str, group: str, job_type: str, tags: list[str], project: str, timeout_s: float
) -> WandbLogger:
    """One Weights & Biases run for one run folder; the same one again when a killed run goes on.

    Args:
        folder: of the run; the files go to its ``wandb/``.
        name: unique in the project; also the run's id there.
        group, job_type, tags: as the dashboards sort them.
        project: of Weights & Biases.
        timeout_s: seconds that the server has to answer before the run is logged offline.
    """
    mode = wandb_mode(timeout_s)
    (folder / "wandb").mkdir(exist_ok=True)
    run = wandb.init(
        name=name,
        id=name,
        project=project,
        dir=str(folder),
        group=group,
        job_type=job_type,
        tags=tags,
        mode=mode,
        resume=None if mode == "offline" else "allow",
        settings=wandb.Settings(silent=True),
    )
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step")
    return WandbLogger(experiment=run)


def tensorboard_logger(folder: Path, name: str, group: str, job_type: str, tags: list[str]) -> TensorBoardLogger:
    """Event files in the run's ``tensorboard/``."""
    del name, group, job_type, tags
    return TensorBoardLogger(save_dir=str(folder), name="tensorboard", version="")


def close(loggers: Iterable[Logger], failed: bool) -> None:
    """End the logs, so that the next run of this process gets its own; say how an offline one is uploaded."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, WandbLogger):
            offline = logger.experiment.offline
            folder = Path(logger.experiment.dir).parent
            wandb.finish(exit_code=int(failed))
            if offline:
                print(f"W&B:      offline; upload it with: wandb sync {folder}", flush=True)
