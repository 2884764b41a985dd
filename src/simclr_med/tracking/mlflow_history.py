"""MLflow's run of a run folder. Its history is that of metrics.csv, each epoch once, also after a resume."""

from __future__ import annotations

import logging
import os
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from simclr_med.atomic import write_text
from simclr_med.config.logger_rules import mask_secrets
from simclr_med.errors import RunError
from simclr_med.evaluation.predictions import Predictions, select_rows, to_table
from simclr_med.runs.names import shown_path
from simclr_med.safe_files import read_text
from simclr_med.tracking.history import read_history

_LOCAL = "sqlite:///"


class MlflowHistory(MLFlowLogger):
    """Logs epoch e as step e of an MLflow run, and what the run lacks of the earlier epochs.

    A store that stops responding does not end the training: one line says so, and what is missing is logged at the end.

    Args:
        folder: of the run.
        uri: of a tracking server or a database.
        experiment: name of the MLflow experiment; it is created if it does not exist.
        name, tags: of the MLflow run.
        table_rows: maximum number of rows in the table of predictions; 0 logs no table.

    Raises:
        MlflowException, OSError: the store cannot be used.
    """

    def __init__(
        self, folder: Path, uri: str, experiment: str, name: str, tags: Mapping[str, str], table_rows: int = 0
    ) -> None:
        super().__init__(experiment, name, uri, dict(tags), artifact_location=_artifact_folder(uri))
        self.folder = folder
        self.table_rows = table_rows
        self._known: dict[str, set[int]] = defaultdict(set)  # epochs that the MLflow run has of each metric
        self._is_lost = False
        path = folder / "mlflow" / "run_id"
        if path.exists():
            self._continue_run(read_text(path).strip())
        else:
            self._experiment_id = self._find_experiment(experiment)
            path.parent.mkdir(exist_ok=True)
            write_text(path, f"{self.run_id}\n")

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log the config once: MLflow refuses another value, such as the environment of a resumed run."""
        with self._reported():
            if not self.experiment.get_run(self.run_id).data.params:
                super().log_hyperparams(params)
                self.experiment.log_artifact(self.run_id, str(self.folder / "config.yaml"))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of an epoch, or scores without one, which get the step of the last epoch."""
        del step
        epoch = int(metrics["epoch"]) if "epoch" in metrics else None
        if self._is_lost and epoch is not None:  # each attempt would wait for the store
            return
        with self._reported():
            self._log_missing_epochs(epoch)
            self._log_new(metrics, max(self._known["epoch"], default=0) if epoch is None else epoch)

    @rank_zero_only
    def log_pictures(self, pictures: Sequence[Path]) -> None:
        """Log PNG files as artifacts ``figures/<name>``."""
        with self._reported():
            for picture in pictures:
                self.experiment.log_artifact(self.run_id, str(picture), "figures")

    @rank_zero_only
    def log_predictions(self, predictions: Predictions) -> None:
        """Log the table ``predictions.json`` of the rows that `select_rows` selects."""
        columns, rows = to_table(predictions, select_rows(predictions, self.table_rows))
        cells = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
        with self._reported():
            self.experiment.log_table(self.run_id, cells, "predictions.json")

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        with self._reported():
            self._log_missing_epochs()
            super().finalize(status)

    def address(self) -> str:
        """Return where a browser shows the run, or the command that does."""
        uri = mask_secrets(self._tracking_uri or "")
        if uri.startswith("http"):
            return f"{uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        if uri.startswith(_LOCAL):
            uri = f"{_LOCAL}{shown_path(Path(uri.removeprefix(_LOCAL)))}"
        return f"show it with: mlflow ui --backend-store-uri {shlex.quote(uri)}"

    def _find_experiment(self, name: str) -> str:
        """Return the id of the experiment; another process may create it at the same time."""
        from mlflow.exceptions import MlflowException

        client = self._mlflow_client
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name, self._artifact_location))
        except MlflowException:
            if found := client.get_experiment_by_name(name):
                return str(found.experiment_id)
            raise

    def _continue_run(self, run_id: str) -> None:
        self._run_id = run_id
        self._read_known()
        self.experiment.update_run(run_id, "RUNNING")

    def _read_known(self) -> None:
        for name in self.experiment.get_run(self.run_id).data.metrics:
            self._known[name] = {metric.step for metric in self.experiment.get_metric_history(self.run_id, name)}

    def _log_missing_epochs(self, before: int | None = None) -> None:
        """Log the epochs of metrics.csv that the MLflow run lacks; only those before an epoch if it is given."""
        if before is None:  # after a training in several processes, which log with a copy of this logger
            self._read_known()
        for epoch, _, values in read_history(self.folder / "metrics.csv", before):
            self._log_new({**values, "epoch": epoch}, epoch)

    def _log_new(self, metrics: Mapping[str, float], epoch: int) -> None:
        new = {name: value for name, value in metrics.items() if epoch not in self._known[name]}
        if new:
            super().log_metrics(new, epoch)
        for name in new:
            self._known[name].add(epoch)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Print a failure of the store once, instead of ending the run, whose own files are complete."""
        from mlflow.exceptions import MlflowException

        try:
            yield
            self._is_lost = False
        except (MlflowException, OSError) as error:
            if not self._is_lost:
                print(f"MLflow:   not logged: {_describe_failure(error, self._tracking_uri or '')}.", flush=True)
            self._is_lost = True


def open_history(
    folder: Path, uri: str, experiment: str, name: str, tags: Mapping[str, str], table_rows: int
) -> MlflowHistory:
    """Return the `MlflowHistory` of a run's folder, with its arguments.

    Raises:
        RunError: mlflow is not installed, or the store cannot be used.
    """
    try:
        import mlflow  # imported here, so that other loggers do not pay for it
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise RunError(
            "logger=mlflow: the package mlflow is not installed. Run pip install mlflow, or use logger=tensorboard or "
            "logger=none."
        ) from error
    for library in (mlflow.__name__, "alembic"):  # they report each step that creates a database
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        return MlflowHistory(folder, uri, experiment, name, tags, table_rows)
    except (MlflowException, OSError) as error:
        raise RunError(
            f"logger.tracking_uri={mask_secrets(uri)}: cannot be used ({_describe_failure(error, uri)}). Start the "
            "server or correct the address, or use logger=none."
        ) from error


def _describe_failure(error: BaseException, uri: str) -> str:
    """Return the reason of a failure in a few words: the operating system's, or the first sentence of the message."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return str(error).replace(uri, mask_secrets(uri)).strip().partition("\n")[0].partition(". ")[0].rstrip(".")[:300]


def _artifact_folder(uri: str) -> str | None:
    """Return where a local database's files go: beside it, and not in the working directory; None asks the server."""
    if not uri.startswith(_LOCAL):
        return None
    return (Path(os.path.abspath(uri.removeprefix(_LOCAL))).parent / ".mlflow").as_uri()
