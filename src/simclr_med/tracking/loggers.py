"""Where metrics go besides metrics.csv: each function is one entry of a YAML of the group logger."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger

from simclr_med.atomic import write_text
from simclr_med.errors import RunError
from simclr_med.evaluation.predictions import Predictions
from simclr_med.tracking.history import TensorBoardHistory, WandbHistory


def wandb_logger(
    folder: Path,
    name: str,
    group: str,
    job_type: str,
    tags: list[str],
    project: str,
    timeout_s: float,
    upload_s: float,
    table_rows: int = 0,
    table_images: int = 0,
) -> WandbHistory:
    """One Weights & Biases run for one run folder; the same one again when a killed run goes on.

    Args:
        folder: of the run; the files go to its ``wandb/``.
        name: as the dashboards show it.
        group, job_type, tags: as the dashboards sort them.
        project: of Weights & Biases.
        timeout_s: seconds that the server has to answer before the run is logged offline.
        upload_s: seconds that the end of an online run waits for what is not uploaded yet.
        table_rows: of a table of answers, at most; 0 logs none.
        table_images: that are shown in it, at most.

    Raises:
        ConfigError: WANDB_MODE is no mode.
    """
    import wandb  # here, since logger=none should not wait for it

    from simclr_med.tracking.wandb_mode import wandb_mode

    if wandb.run is not None:  # of an earlier job of this process, which failed before anything could close it
        wandb.finish(exit_code=1)
    place = folder / "wandb"
    place.mkdir(exist_ok=True)
    # The environment, since training processes started from this one are told no settings.
    for setting, value in (
        ("CACHE_DIR", str(place / "cache")),  # its own log would go to the home directory
        ("SILENT", "true"),
        ("FINISH_TIMEOUT", str(upload_s)),  # for ever, by itself
        ("FINISH_TIMEOUT_RAISES", "true"),
    ):
        os.environ.setdefault(f"WANDB_{setting}", value)
    logging.raiseExceptions = False  # its own log on a full disk would print a traceback a line
    mode = wandb_mode(timeout_s)
    identity, known = _run_id(place / "run_id", name)
    options: dict[str, Any] = {
        "name": name,
        "id": identity,
        "project": project,
        "dir": str(folder),
        "group": group,
        "job_type": job_type,
        "tags": tags,
    }
    try:
        run = wandb.init(mode=mode, resume="allow" if known and mode == "online" else None, **options)
    except (wandb.errors.Error, OSError) as error:
        if mode != "online":
            raise
        print(f"W&B:      logging offline: {(str(error) or type(error).__name__).splitlines()[0]}", flush=True)
        run = wandb.init(mode="offline", **options)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    if not run.offline and not run.disabled:
        print(f"W&B:      {run.url}", flush=True)
    return WandbHistory(run, folder / "metrics.csv", (table_rows, table_images))


def tensorboard_logger(folder: Path, name: str, group: str, job_type: str, tags: list[str]) -> TensorBoardHistory:
    """Event files in the run's ``tensorboard/``.

    Raises:
        RunError: tensorboard is not installed.
    """
    del name, group, job_type, tags
    try:
        return TensorBoardHistory(folder)
    except ModuleNotFoundError as error:
        raise RunError(
            "logger=tensorboard: must find the package tensorboard. Run pip install tensorboard, or take logger=wandb "
            "or logger=none."
        ) from error


def log_pictures(loggers: Iterable[Logger], pictures: Iterable[Path]) -> None:
    """Show PNG files at Weights & Biases, where it is among the loggers; before the scores, whose row they share."""
    shown = sorted(pictures)
    for logger in loggers:
        if isinstance(logger, WandbHistory) and shown:
            try:
                logger.log_pictures(shown)
            except OSError as error:  # copies of what the run itself has; a disk without room for them ends no run
                print(f"W&B:      its copies of the pictures could not be written ({error.strerror}).", flush=True)


def log_predictions(
    loggers: Iterable[Logger], answers: Predictions | None, images: Callable[[], np.ndarray] | None = None
) -> None:
    """Show answers at Weights & Biases as a table, where it is among the loggers; before the scores, as pictures.

    Args:
        loggers: of the run.
        answers: of all images; so many rows of them are shown as the logger's config says; None shows nothing.
        images: opens the images that the answers are of, uint8 [N, H, W, C]; None shows none.
    """
    for logger in loggers:
        if isinstance(logger, WandbHistory) and logger.most_rows > 0 and answers is not None:
            try:
                logger.log_answers(answers, images)
            except OSError as error:  # the answers are in the run's own file
                print(f"W&B:      its table of answers could not be written ({error.strerror or error}).", flush=True)


def close_loggers(loggers: Iterable[Logger], failed: bool) -> None:
    """End the logs, so that the next run of this process gets its own; say how an offline one is uploaded."""
    for logger in loggers:
        if isinstance(logger, WandbHistory):
            _close_wandb(logger, failed)
        logger.finalize("failed" if failed else "success")


def _close_wandb(logger: WandbHistory, failed: bool) -> None:
    import wandb

    run = logger.experiment
    logger.catch_up()
    offline, folder = run.offline, Path(run.dir).parent
    path = shlex.quote(str(folder))
    try:
        wandb.finish(exit_code=int(failed))
    except TimeoutError:
        print(f"W&B:      not all is uploaded; the rest is by: wandb sync --include-online {path}", flush=True)
    except OSError as error:  # the run itself is recorded; its log must not take it down
        print(f"W&B:      its log could not be written ({error.strerror}): {folder}", flush=True)
        return
    if not offline:
        return
    # What earlier attempts left, each under the same id, is in this one's history.
    for other in folder.parent.glob(f"offline-run-*-{run.id}"):
        if other != folder:
            shutil.rmtree(other)
    print(f"W&B:      offline; upload it with: wandb sync {path}", flush=True)


def _run_id(path: Path, name: str) -> tuple[str, bool]:
    """The id of the run at Weights & Biases, and whether an earlier attempt had it already.

    Random at first, since an id is never given twice there, not even after its run was deleted.
    """
    if path.exists():
        return path.read_text(encoding="utf-8").strip(), True
    identity = f"{name}-{secrets.token_hex(4)}"
    write_text(path, identity + "\n")
    return identity, False
