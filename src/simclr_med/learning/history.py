"""Loggers whose history is metrics.csv: each epoch once and none missing, however often the run was killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from simclr_med.learning.recording import rows

_NO_METRICS = ("step", "wall_s")


class WandbHistory(WandbLogger):
    """Logs epoch e as Weights & Biases' step e, after the earlier epochs that the run there does not have yet.

    A run that goes on offline starts a folder of its own, which so holds the whole history; one that goes on online
    leaves out the epochs that the server has. Metrics without an epoch (scores at a run's end) go with the last one.

    Args:
        run: that ``wandb.init`` made.
        table: the run's metrics.csv.
    """

    def __init__(self, run: Any, table: Path) -> None:
        super().__init__(experiment=run)
        self.table = table
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

    def catch_up(self, before: int | None = None) -> int:
        """Log what metrics.csv has and the run there has not, of the epochs before this one or of all.

        Returns:
            How many epochs the run there had.
        """
        known = int(self.experiment.step)
        for epoch, step, metrics in recorded(self.table, before):
            if epoch >= known:
                self._log(epoch, metrics, step)
        return known

    def _log(self, epoch: int, metrics: Mapping[str, Any], step: int | None) -> None:
        self.experiment.log({**metrics, "epoch": epoch, "trainer/global_step": step}, step=epoch)


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
            for epoch, before, values in recorded(self.table, first):
                super().log_metrics({**values, "epoch": epoch}, before)
        super().log_metrics(dict(metrics), step)
        self.experiment.flush()


def recorded(table: Path, before: int | None = None) -> Iterator[tuple[int, int, dict[str, float]]]:
    """(epoch, step as Lightning counts it in its logs, from 0, metrics) of each row of a metrics.csv."""
    for row in rows(table):
        epoch = int(row.pop("epoch"))
        if before is None or epoch < before:
            metrics = {name: float(value) for name, value in row.items() if value and name not in _NO_METRICS}
            yield epoch, int(row["step"]) - 1, metrics
