"""Loggers whose history is metrics.csv: each epoch once and none missing, however often the run was killed."""

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
from simclr_med.metrics import classification as scores
from simclr_med.metrics_csv import read_rows
from simclr_med.types import MULTI_LABEL

_NO_METRICS = ("step", "wall_s")
_SIDE = 128  # pixels of an image in a table, at most


class WandbHistory(WandbLogger):
    """Logs epoch e as Weights & Biases' step e, after the earlier epochs that the run there does not have yet.

    A run that goes on offline starts a folder of its own, which so holds the whole history; one that goes on online
    leaves out the epochs that the server has. Metrics without an epoch (scores at a run's end) go with the last one.

    Args:
        run: that ``wandb.init`` made.
        table: the run's metrics.csv.
        most: rows of a table of answers, and images in it.
    """

    def __init__(self, run: Any, table: Path, most: tuple[int, int] = (0, 0)) -> None:
        super().__init__(experiment=run)
        self.table = table
        self.most_rows, self.most_images = most
        self._known: int | None = None  # epochs that the run there had when this process began to log

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        epoch = int(metrics["epoch"]) if "epoch" in metrics else None
        known = self.catch_up(epoch) if self._known is None else self._known
        self._known = known
        if epoch is None:
            self.experiment.log(dict(metrics))
        elif epoch >= known:
            self._log(epoch, metrics, step)

    @rank_zero_only
    def log_pictures(self, pictures: Sequence[Path]) -> None:
        """Log PNG files, each as figures/<its name>, in one row with the last epoch and with what is logged next."""
        from wandb import Image

        if self._known is None:
            self._known = self.catch_up()
        shown = {f"figures/{picture.stem}": Image(str(picture)) for picture in pictures}
        self.experiment.log(shown, commit=False)

    @rank_zero_only
    def log_answers(self, answers: Predictions, images: Callable[[], np.ndarray] | None) -> None:
        """Log a table as predictions, and as confusion_matrix what all answers come to, in the row of `log_pictures`.

        Args:
            answers: that the rows are taken from, as `spaced` says.
            images: uint8 [N, H, W, C], to be shown small in the first rows; read only when they are.
        """
        from wandb import Image, Table

        if self._known is None:
            self._known = self.catch_up()
        rows_M = select_rows(answers, self.most_rows)
        columns, cells = to_table(answers, rows_M)
        if images is not None and self.most_images > 0:
            seen = images()
            step = -(-max(seen.shape[1:3]) // _SIDE)
            few = rows_M[: self.most_images].tolist()
            pictures: list[Any] = [Image(np.squeeze(seen[row, ::step, ::step])) for row in few]
            pictures += [None] * (len(cells) - len(pictures))
            columns = ["image", *columns]
            cells = [[picture, *row] for picture, row in zip(pictures, cells, strict=True)]
        shown = {"predictions": Table(columns=[*columns], data=[*cells], optional=True), **_confusion(answers)}
        with _kept_in(self.table.parent / "wandb" / "data"):
            self.experiment.log(shown, commit=False)

    def catch_up(self, before: int | None = None) -> int:
        """Log what metrics.csv has and the run there has not, of the epochs before this one or of all.

        Returns:
            How many epochs the run there had.
        """
        known = int(self.experiment.step)
        for epoch, step, metrics in read_history(self.table, before):
            if epoch >= known:
                self._log(epoch, metrics, step)
        return known

    def _log(self, epoch: int, metrics: Mapping[str, Any], step: int | None) -> None:
        self.experiment.log({**metrics, "epoch": epoch, "trainer/global_step": step}, step=epoch)


def _confusion(answers: Predictions) -> dict[str, Any]:
    """True classes against answers, where an image has one of each."""
    from wandb import plot

    if answers.labels_NL is None or answers.task == MULTI_LABEL:
        return {}
    true, found = (
        scores.y_true(answers.task, answers.labels_NL),
        scores.y_pred(answers.task, answers.probabilities_NK),
    )
    names = list(answers.classes)
    return {"confusion_matrix": plot.confusion_matrix(y_true=true.tolist(), preds=found.tolist(), class_names=names)}


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """What a table is uploaded from lies in this folder, and not in the home directory, unless the user chose one."""
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
    """Event files in ``tensorboard/`` of a run's folder, begun anew from metrics.csv by a run that goes on.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), name="tensorboard", version="", default_hp_metric=False)
        self.table = folder / "metrics.csv"
        self._earlier: list[Path] | None = sorted((folder / "tensorboard").glob("events.out.tfevents.*"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._earlier is not None:
            for path in self._earlier:
                path.unlink(missing_ok=True)
            self._earlier = None
            first = int(metrics["epoch"]) if "epoch" in metrics else None
            for epoch, before, values in read_history(self.table, first):
                super().log_metrics({**values, "epoch": epoch}, before)
        super().log_metrics(dict(metrics), step)
        self.experiment.flush()


def read_history(table: Path, before: int | None = None) -> Iterator[tuple[int, int, dict[str, float]]]:
    """(epoch, step as Lightning counts it in its logs, from 0, metrics) of each row of a metrics.csv."""
    for row in read_rows(table):
        epoch = int(row.pop("epoch"))
        if before is None or epoch < before:
            metrics = {name: float(value) for name, value in row.items() if value and name not in _NO_METRICS}
            yield epoch, int(row["step"]) - 1, metrics
