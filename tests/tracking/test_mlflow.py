"""The MLflow run of a run folder has the rows of metrics.csv, once each; a lost store does not end a run."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mlflow", reason="needs the extra mlflow")
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from simclr_med.errors import RunError
from simclr_med.evaluation.predictions import Predictions
from simclr_med.metrics_csv import read_rows
from simclr_med.tracking.loggers import close_loggers, log_pictures, log_predictions, mlflow_logger
from simclr_med.tracking.mlflow_history import MlflowHistory

Start = Callable[..., MlflowHistory]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the user who runs the tests."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of all tests, since its creation takes seconds."""
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture
def start(tmp_path: Path, database: Path) -> Start:
    """Start the logger of the test's run folder."""
    (tmp_path / "config.yaml").write_text("seed: 0\n")

    def begin(uri: str | None = None, rows: int = 0) -> MlflowHistory:
        return mlflow_logger(tmp_path, "pretrain-x", "x", "pretrain", ["x"], uri, str(database), "e", 2, rows)

    return begin


def stored(logger: MlflowHistory) -> tuple[Any, dict[str, list[tuple[int, float]]]]:
    """Return the MLflow run, and (step, value) of each metric."""
    client = MlflowClient(logger._tracking_uri)
    run = client.get_run(logger.run_id)
    history = {name: client.get_metric_history(logger.run_id, name) for name in run.data.metrics}
    return run, {name: [(metric.step, metric.value) for metric in found] for name, found in history.items()}


def table(folder: Path, epochs: int) -> None:
    rows = [f"{epoch},{2 * epoch + 2},{loss(epoch)!r},0.5" for epoch in range(epochs)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,train/loss,wall_s", *rows, ""]))


def loss(epoch: int) -> float:
    return 7.1 / (epoch + 1)


def log_epoch(logger: MlflowHistory, epoch: int) -> None:
    logger.log_metrics({"epoch": epoch, "train/loss": loss(epoch)}, 2 * epoch + 1)


def test_resumed_run_has_each_epoch_once(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = start()
    first.log_hyperparams({"seed": 0, "environment": {"threads": 1}})
    for epoch in range(3):
        table(tmp_path, epoch + 1)
        log_epoch(first, epoch)
    assert stored(first)[0].info.status == "RUNNING"  # as if killed
    table(tmp_path, 2)  # resumed from the checkpoint after two epochs
    second = start()
    second.log_hyperparams({"seed": 0, "environment": {"threads": 2}})
    for epoch in (2, 3):
        log_epoch(second, epoch)
    table(tmp_path, 5)  # the last epoch was not logged before the failure
    close_loggers([second], failed=True)
    run, history = stored(second)
    assert second.run_id == first.run_id
    assert (run.info.run_name, run.info.status, run.data.tags["stage"]) == ("pretrain-x", "FAILED", "pretrain")
    assert run.data.params == {"seed": "0", "environment/threads": "1"}
    assert history["train/loss"] == [(epoch, loss(epoch)) for epoch in range(5)]
    assert "not logged" not in capsys.readouterr().out


def test_scores_pictures_and_predictions(start: Start, tmp_path: Path, database: Path) -> None:
    logger = start(rows=2)
    table(tmp_path, 3)
    Image.new("RGB", (4, 3)).save(tmp_path / "views.png")
    labels = np.arange(6)[:, None] % 2
    some = Predictions("multi-class", ("a", "b"), np.eye(2, dtype=np.float32)[labels[:, 0]], labels)
    log_pictures([logger], [tmp_path / "views.png"])
    log_predictions([logger], some, lambda: pytest.fail("MLflow gets no images"))
    logger.log_metrics({"test/accuracy": 0.5})
    close_loggers([logger], failed=False)
    run, history = stored(logger)
    assert run.info.status == "FINISHED"
    assert history["test/accuracy"] == [(2, 0.5)]
    folder = database.parent / ".mlflow" / str(logger.run_id) / "artifacts"
    assert Image.open(folder / "figures" / "views.png").size == (4, 3)
    predictions = json.loads((folder / "predictions.json").read_text())
    assert predictions["columns"][:2] == ["row", "true"]
    assert len(predictions["data"]) == 2


def test_lost_store_does_not_end_the_run(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = start()
    log_epoch(logger, 0)
    capsys.readouterr()
    calls = []

    def lost(*_: object, **__: object) -> None:
        calls.append(1)
        raise MlflowException("database is locked. More of it")

    with monkeypatch.context() as patch:
        patch.setattr(logger._mlflow_client, "log_batch", lost)
        for epoch in (1, 2):
            log_epoch(logger, epoch)
    assert capsys.readouterr().out == "MLflow:   not logged: database is locked.\n"
    assert len(calls) == 1, "further epochs do not wait for the store"
    table(tmp_path, 3)
    close_loggers([logger], failed=False)
    assert stored(logger)[1]["train/loss"] == [(epoch, loss(epoch)) for epoch in range(3)]


def test_copy_in_a_training_process_logs_to_the_same_run(start: Start, tmp_path: Path) -> None:
    logger = start()
    copy = pickle.loads(pickle.dumps(logger))
    for epoch in range(2):
        log_epoch(copy, epoch)
    table(tmp_path, 2)
    logger.log_metrics({"test/accuracy": 0.5})
    close_loggers([logger], failed=False)
    history = stored(logger)[1]
    assert history["train/loss"] == [(epoch, loss(epoch)) for epoch in range(2)]
    assert history["test/accuracy"] == [(1, 0.5)]


def test_unusable_server_is_one_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RunError) as caught:
        start(f"http://user:secret@127.0.0.1:{port}")
    assert caught.value.problems == (
        f"logger.tracking_uri=http://***@127.0.0.1:{port}: cannot be used (Connection refused). Start the server or "
        "correct the address, or use logger=none.",
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Start MLflow's own server and return its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/served"]
    command = [sys.executable, "-m", "mlflow", "server", *words, *stores]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # nine processes that nothing needs
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        address, ends = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < ends
                assert process.poll() is None
                time.sleep(0.2)
        yield address
        os.killpg(process.pid, signal.SIGTERM)


@pytest.mark.process
def test_server_has_the_history_of_metrics_csv(
    command: Command, cells: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("//", "//user:secret@"))
    done = command(
        *("stage=pretrain", "dataset=npz", f"dataset.path={cells}", "encoder=tiny", "stage.batch_size=16"),
        *("stage.epochs=3", "stage.monitor_every=2", "trainer=cpu", "trainer.threads=1", "logger=mlflow"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = tmp_path.glob("runs/pretrain/cells/*")
    run_id = (folder / "mlflow" / "run_id").read_text().strip()
    client = MlflowClient(server)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.params["stage/epochs"]) == ("FINISHED", "3")
    assert (
        f"MLflow:   {server.replace('//', '//***@')}/#/experiments/{run.info.experiment_id}/runs/{run_id}"
        in done.stdout
    )
    assert "secret" not in done.stdout
    rows = read_rows(folder / "metrics.csv")
    for name in [name for name in rows[0] if name not in ("epoch", "step", "wall_s")]:
        expected = [(int(row["epoch"]), pytest.approx(float(row[name]))) for row in rows if row[name]]
        assert [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)] == expected, name
    assert [found.path for found in client.list_artifacts(run_id, "figures")] == [
        *("figures/training.png", "figures/views.png"),
    ]
    assert "secret" not in str(run.to_dictionary())
    assert "secret" not in (folder / "config.yaml").read_text()
    assert not (tmp_path / "mlruns").exists()
