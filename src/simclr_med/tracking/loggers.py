"""Loggers besides metrics.csv, as named in conf/logger, and what the stages log to them."""

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
from simclr_med.runs.names import shown_path
from simclr_med.tracking.history import TensorBoardHistory, WandbHistory
from simclr_med.tracking.mlflow_history import MlflowHistory, open_history


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
    """Start the Weights & Biases run of a run folder, or continue it if the run is resumed.

    Args:
        folder: of the run; W&B's files go to its ``wandb/``.
        name: of the W&B run.
        group, job_type, tags: of the W&B run; the saved views filter by them.
        project: of Weights & Biases.
        timeout_s: seconds to wait for the server before the run is logged offline.
        upload_s: seconds to wait at the end of an online run for its upload.
        table_rows: maximum number of rows in a table of predictions; 0 logs no table.
        table_images: maximum number of images in it.

    Raises:
        ConfigError: WANDB_MODE is invalid.
    """
    import wandb  # imported here, so that logger=none does not pay for it

    from simclr_med.tracking.wandb_mode import choose_mode

    if wandb.run is not None:  # an earlier run of this process failed before its logger was closed
        wandb.finish(exit_code=1)
    wandb_folder = folder / "wandb"
    wandb_folder.mkdir(exist_ok=True)
    # Environment variables, because training processes that this one starts inherit them.
    for setting, value in (
        ("CACHE_DIR", str(wandb_folder / "cache")),  # by default wandb logs to the home directory
        ("SILENT", "true"),
        ("FINISH_TIMEOUT", str(upload_s)),  # by default wandb waits without limit
        ("FINISH_TIMEOUT_RAISES", "true"),
    ):
        os.environ.setdefault(f"WANDB_{setting}", value)
    logging.raiseExceptions = False  # on a full disk, wandb's own log would print a traceback for every line
    mode = choose_mode(timeout_s)
    run_id, is_known = _load_run_id(wandb_folder / "run_id", name)
    options: dict[str, Any] = {
        "name": name,
        "id": run_id,
        "project": project,
        "dir": str(folder),
        "group": group,
        "job_type": job_type,
        "tags": tags,
    }
    try:
        run = wandb.init(mode=mode, resume="allow" if is_known and mode == "online" else None, **options)
    except (wandb.errors.Error, OSError) as error:
        if mode != "online":
            raise
        print(f"W&B:      logging offline: {(str(error) or type(error).__name__).splitlines()[0]}", flush=True)
        run = wandb.init(mode="offline", **options)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    if not run.offline and not run.disabled:
        print(f"W&B:      {run.url}", flush=True)
    return WandbHistory(run, folder / "metrics.csv", table_rows, table_images)


def tensorboard_logger(folder: Path, name: str, group: str, job_type: str, tags: list[str]) -> TensorBoardHistory:
    """Write event files to the run's ``tensorboard/``.

    Raises:
        RunError: tensorboard is not installed.
    """
    del name, group, job_type, tags
    try:
        return TensorBoardHistory(folder)
    except ModuleNotFoundError as error:
        raise RunError(
            "logger=tensorboard: the package tensorboard is not installed. Run pip install tensorboard, or use "
            "logger=wandb or logger=none."
        ) from error


def mlflow_logger(
    folder: Path,
    name: str,
    group: str,
    job_type: str,
    tags: list[str],
    tracking_uri: str | None,
    database: str,
    experiment: str,
    timeout_s: float,
    table_rows: int = 0,
) -> MlflowHistory:
    """Start the MLflow run of a run folder, or continue it if the run is resumed.

    Args:
        folder: of the run; its ``mlflow/run_id`` names the MLflow run.
        name: of the MLflow run.
        group, job_type: tags of the MLflow run.
        tags: not used, since the parameters of the MLflow run hold the whole config.
        tracking_uri: of a server or database; None uses MLFLOW_TRACKING_URI, or the database if that is not set.
        database: path of the SQLite database.
        experiment: name of the MLflow experiment.
        timeout_s: seconds to wait for each response of a server.
        table_rows: maximum number of rows in a table of predictions; 0 logs no table.

    Raises:
        RunError: mlflow is not installed, or the server or database cannot be used.
    """
    del tags
    # Environment variables, because training processes that this one starts inherit them.
    for setting, value in (
        ("HTTP_REQUEST_TIMEOUT", f"{timeout_s:g}"),  # by default mlflow waits minutes
        ("HTTP_REQUEST_MAX_RETRIES", "1"),
        ("SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),  # it would show the credentials of an address
    ):
        os.environ.setdefault(f"MLFLOW_{setting}", value)
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{os.path.abspath(database)}"
    logger = open_history(folder, uri, experiment, name, {"group": group, "stage": job_type}, table_rows)
    print(f"MLflow:   {logger.address()}", flush=True)
    return logger


def log_pictures(loggers: Iterable[Logger], pictures: Iterable[Path]) -> None:
    """Log PNG files to Weights & Biases and MLflow; call it before the scores are logged, whose row they share."""
    paths = sorted(pictures)
    for logger in loggers:
        if isinstance(logger, MlflowHistory):
            logger.log_pictures(paths)
        if isinstance(logger, WandbHistory) and paths:
            try:
                logger.log_pictures(paths)
            except OSError as error:  # the run's own figures exist, so a full disk must not end the run
                print(f"W&B:      cannot copy the figures ({error.strerror}).", flush=True)


def log_predictions(
    loggers: Iterable[Logger], predictions: Predictions | None, images: Callable[[], np.ndarray] | None = None
) -> None:
    """Log a table of predictions to Weights & Biases and MLflow; call it before the scores, whose row it shares.

    Args:
        loggers: of the run.
        predictions: of all images; the logger's config limits the rows of the table. None logs nothing.
        images: returns the images, uint8 [N, H, W, C]; None logs none. MLflow gets no images.
    """
    for logger in loggers:
        if isinstance(logger, MlflowHistory) and logger.table_rows > 0 and predictions is not None:
            logger.log_predictions(predictions)
        if isinstance(logger, WandbHistory) and logger.table_rows > 0 and predictions is not None:
            try:
                logger.log_predictions(predictions, images)
            except OSError as error:  # predictions.npz exists, so a full disk must not end the run
                print(f"W&B:      cannot write the table of predictions ({error.strerror or error}).", flush=True)


def close_loggers(loggers: Iterable[Logger], failed: bool, announce: bool = True) -> None:
    """Close the loggers, so that the next run of this process gets its own.

    Args:
        loggers: of the run.
        failed: whether the run failed.
        announce: print how to upload an offline run.
    """
    for logger in loggers:
        if isinstance(logger, WandbHistory):
            _close_wandb(logger, failed, announce)
        logger.finalize("failed" if failed else "success")


def _close_wandb(logger: WandbHistory, failed: bool, announce: bool) -> None:
    import wandb

    run = logger.experiment
    logger.log_missing_epochs()
    is_offline, folder = run.offline, Path(run.dir).parent
    path = shlex.quote(shown_path(folder))
    try:
        wandb.finish(exit_code=int(failed))
    except TimeoutError:
        print(f"W&B:      upload incomplete; finish it with: wandb sync --include-online {path}", flush=True)
    except OSError as error:  # the run's own files are complete, so the run must not fail
        print(f"W&B:      cannot write the log ({error.strerror}): {shown_path(folder)}", flush=True)
        return
    if not is_offline:
        return
    # This log contains the history of the earlier, interrupted logs of the same run.
    for other in folder.parent.glob(f"offline-run-*-{run.id}"):
        if other != folder:
            shutil.rmtree(other)
    if announce:
        print(f"W&B:      offline; upload it with: wandb sync {path}", flush=True)


def _load_run_id(path: Path, name: str) -> tuple[str, bool]:
    """Return the id of the W&B run, and whether it exists from an earlier start of the run.

    A new id is random, because Weights & Biases does not accept the id of a deleted run again.
    """
    if path.exists():
        return path.read_text(encoding="utf-8").strip(), True
    run_id = f"{name}-{secrets.token_hex(4)}"
    write_text(path, run_id + "\n")
    return run_id, False
