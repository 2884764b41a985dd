"""Loggers that take their history from metrics.csv, so that a resumed run has every epoch exactly once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from simclr_med.evaluation.predictions import Predictions, select_rows, to_table
from simclr_med.metrics import classification
from simclr_med.metrics_csv import read_rows
from simclr_med.plots.channels import select_shown
from simclr_med.types import MULTI_LABEL

_NOT_METRICS = ("step", "wall_s")
_MAX_SIDE = 128  # pixels of an image in a table


class WandbHistory(WandbLogger):
    """Logs epoch e as step e of a Weights & Biases run, after the earlier epochs that this run lacks.

    A resumed offline run starts a new folder, which gets the whole history. A resumed online run gets only the epochs
    that the server lacks. Metrics without an epoch (scores at the end of a run) are logged with the last epoch.

    Args:
        run: return value of ``wandb.init``.
        metrics_csv: the run's metrics.csv.
        table_rows: maximum number of rows in a table of predictions; 0 logs no table.
        table_images: maximum number of images in it.
    """

    def __init__(self, run: Any, metrics_csv: Path, table_rows: int = 0, table_images: int = 0) -> None:
        super().__init__(experiment=run)
        self.metrics_csv = metrics_csv
        self.table_rows = table_rows
        self.table_images = table_images
        self._logged_before: int | None = None  # epochs that the W&B run had before this process logged to it

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        epoch = int(metrics["epoch"]) if "epoch" in metrics else None
        if self._logged_before is None:
            self._logged_before = self.log_missing_epochs(epoch)
        if epoch is None:
            self.experiment.log(dict(metrics))
        elif epoch >= self._logged_before:
            self._log_epoch(epoch, metrics, step)

    @rank_zero_only
    def log_pictures(self, pictures: Sequence[Path]) -> None:
        """Log PNG files as figures/<name>, in the row of the last epoch and of the next metrics."""
        from wandb import Image

        if self._logged_before is None:
            self._logged_before = self.log_missing_epochs()
        images = {f"figures/{picture.stem}": Image(str(picture)) for picture in pictures}
        self.experiment.log(images, commit=False)

    @rank_zero_only
    def log_predictions(self, predictions: Predictions, images: Callable[[], np.ndarray] | None) -> None:
        """Log the table ``predictions`` and the chart ``confusion_matrix``, in the row of `log_pictures`.

        Args:
            predictions: the table has the rows that `select_rows` selects, the chart has all.
            images: returns uint8 [N, H, W, C], shown in the first rows; called only if images are shown.
        """
        from wandb import Table

        if self._logged_before is None:
            self._logged_before = self.log_missing_epochs()
        rows_M = select_rows(predictions, self.table_rows)
        columns, cells = to_table(predictions, rows_M)
        if images is not None and self.table_images > 0:
            columns = ["image", *columns]
            thumbnails = _make_thumbnails(images(), rows_M[: self.table_images].tolist())
            thumbnails += [None] * (len(cells) - len(thumbnails))
            cells = [[thumbnail, *row] for thumbnail, row in zip(thumbnails, cells, strict=True)]
        table = Table(columns=[*columns], data=[*cells], optional=True)
        with _keep_uploads_in(self.metrics_csv.parent / "wandb" / "data"):
            self.experiment.log({"predictions": table, **_plot_confusion_matrix(predictions)}, commit=False)

    def log_missing_epochs(self, before: int | None = None) -> int:
        """Log the epochs of metrics.csv that the W&B run lacks; only those before an epoch if it is given.

        Returns:
            Number of epochs that the W&B run had.
        """
        logged = int(self.experiment.step)
        for epoch, step, metrics in read_history(self.metrics_csv, before):
            if epoch >= logged:
                self._log_epoch(epoch, metrics, step)
        return logged

    def _log_epoch(self, epoch: int, metrics: Mapping[str, Any], step: int | None) -> None:
        self.experiment.log({**metrics, "epoch": epoch, "trainer/global_step": step}, step=epoch)


def _make_thumbnails(images_NHWC: np.ndarray, rows: Sequence[int]) -> list[Any]:
    """Return wandb images of these rows with sides of at most `_MAX_SIDE` pixels."""
    from wandb import Image

    step = -(-max(images_NHWC.shape[1:3]) // _MAX_SIDE)
    return [Image(np.squeeze(select_shown(images_NHWC[row, ::step, ::step]))) for row in rows]


def _plot_confusion_matrix(predictions: Predictions) -> dict[str, Any]:
    """Return the chart confusion_matrix; nothing without labels and for a multi-label set."""
    from wandb import plot

    if predictions.labels_NL is None or predictions.task == MULTI_LABEL:
        return {}
    y_true = classification.y_true(predictions.task, predictions.labels_NL).tolist()
    y_pred = classification.y_pred(predictions.task, predictions.probabilities_NK).tolist()
    names = list(predictions.classes)
    return {"confusion_matrix": plot.confusion_matrix(y_true=y_true, preds=y_pred, class_names=names)}


@contextmanager
def _keep_uploads_in(folder: Path) -> Iterator[None]:
    """Make wandb keep the files of a table in this folder, not in the home directory, unless the user chose one."""
    name = "WANDB_DATA_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        del os.environ[name]


class TensorBoardHistory(TensorBoardLogger):
    """Writes event files to ``tensorboard/`` of a run's folder; a resumed run rewrites them from metrics.csv.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), name="tensorboard", version="", default_hp_metric=False)
        self.metrics_csv = folder / "metrics.csv"
        # None once they are deleted.
        self._old_files: list[Path] | None = sorted((folder / "tensorboard").glob("events.out.tfevents.*"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._old_files is not None:
            for path in self._old_files:
                path.unlink(missing_ok=True)
            self._old_files = None
            first = int(metrics["epoch"]) if "epoch" in metrics else None
            for epoch, old_step, values in read_history(self.metrics_csv, first):
                super().log_metrics({**values, "epoch": epoch}, old_step)
        super().log_metrics(dict(metrics), step)
        self.experiment.flush()


def read_history(metrics_csv: Path, before: int | None = None) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Yield (epoch, step counted from 0 as in Lightning's logs, metrics) of each row, up to an epoch if it is given."""
    for row in read_rows(metrics_csv):
        epoch = int(row.pop("epoch"))
        if before is None or epoch < before:
            metrics = {name: float(value) for name, value in row.items() if value and name not in _NOT_METRICS}
            yield epoch, int(row["step"]) - 1, metrics
