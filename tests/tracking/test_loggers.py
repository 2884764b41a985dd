"""Weights & Biases and TensorBoard contain the rows of metrics.csv; an unusable server does not delay a run."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
import wandb_log
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from simclr_med.errors import ConfigError, RunError
from simclr_med.evaluation.predictions import Predictions
from simclr_med.tracking.history import WandbHistory
from simclr_med.tracking.loggers import (
    close_loggers,
    log_pictures,
    log_predictions,
    mlflow_logger,
    tensorboard_logger,
    wandb_logger,
)
from simclr_med.tracking.wandb_mode import choose_mode

KEY = 40 * "a"
NAMES = ("train/loss", "val/loss")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Remove the credentials and settings of the user who runs the tests."""
    for name in ("MODE", "API_KEY", "BASE_URL", "PROJECT", "ENTITY", "IDENTITY_TOKEN_FILE", "RUN_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "5")
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT_RAISES", "true")
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[bytes]], str]]:
    """Start a local server that sends these pieces to every client, one each 0.1 s; return its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    held = []

    def start(pieces: list[bytes]) -> str:
        def answer() -> None:
            while True:
                try:
                    client = listening.accept()[0]
                    held.append(client)
                    if not pieces:
                        continue
                    client.recv(1 << 16)
                    for piece in pieces:
                        client.sendall(piece)
                        time.sleep(0.1)
                    client.close()
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        return address

    yield start
    listening.close()
    for client in held:
        client.close()


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


UNUSABLE = [
    ("silent", [], "did not respond within 0.5 s"),
    ("dripping", [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", *(99 * [b" "])], "did not respond within 0.5 s"),
    ("broken", [http("500 Internal Server Error", b"no")], "responded with status 500"),
    ("another key", [http("401 Unauthorized", b"")], "responded with status 401 (invalid API key)"),
    ("no HTTP", [b"\x00SSH-2.0-x\r\n"], "is not a Weights & Biases server"),
    ("a login page", [http("200 OK", b"<html>")], "is not a Weights & Biases server"),
    ("other JSON", [http("200 OK", b"[1]")], "is not a Weights & Biases server"),
    ("no data", [http("200 OK", b'{"errors": []}')], "is not a Weights & Biases server"),
]


@pytest.mark.parametrize(("pieces", "why"), [case[1:] for case in UNUSABLE], ids=[case[0] for case in UNUSABLE])
def test_unusable_server_is_abandoned_in_time(
    server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pieces: list[bytes], why: str
) -> None:
    address = server(pieces)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.setup()
    began = time.monotonic()
    assert choose_mode(0.5) == "offline"
    assert time.monotonic() - began < 1
    assert capsys.readouterr().out == f"W&B:      logging offline: {address} {why}.\n"


def test_closed_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert choose_mode(5) == "offline"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"W&B:      logging offline: http://127.0.0.1:{port} cannot be reached (")


def test_responding_server_is_used(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = server([http("200 OK", b'{"data": {"viewer": {"id": "x"}}}')])
    assert choose_mode(5) == "offline"
    (tmp_path / "netrc").write_text(f"machine {address.removeprefix('http://')} login user password {KEY}\n")
    assert choose_mode(5) == "online"


def test_wandb_mode_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, mode in (("online", "online"), ("dryrun", "offline"), ("disabled", "disabled")):
        monkeypatch.setenv("WANDB_MODE", word)
        assert choose_mode(5) == mode
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ConfigError, match=r"^WANDB_MODE=sometimes: expected one of disabled, dryrun, offline, online"):
        choose_mode(5)


def table(folder: Path, epochs: int) -> None:
    """A metrics.csv of two steps an epoch, with val/loss in every second row."""
    rows = [f"{e},{2 * e + 2},{loss(e)!r},{loss(e) + 1 if e % 2 else ''},0.5" for e in range(epochs)]
    (folder / "metrics.csv").write_text("\n".join([f"epoch,step,{','.join(NAMES)},wall_s", *rows, ""]))


def loss(epoch: int) -> float:
    return 7.1 / (epoch + 1)


def only_log(folder: Path) -> wandb_log.Logged:
    """Return the only W&B log of a run; teardown waits for wandb's process to write it."""
    wandb.teardown()
    (path,) = folder.glob("wandb/*run-*/*.wandb")
    return wandb_log.read(path)


def start_logger(folder: Path, *limits: int) -> WandbHistory:
    return wandb_logger(folder, "pretrain-x-0123", "pretrain-x", "pretrain", ["x", "seed0"], "p", 5, 5, *limits)


def test_resumed_offline_run_has_each_epoch_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = start_logger(tmp_path)
    for epoch in range(3):
        table(tmp_path, epoch + 1)
        first.log_metrics({"epoch": epoch, "train/loss": loss(epoch)}, 2 * epoch + 1)
    wandb.finish()  # as if killed: without close_loggers
    assert capsys.readouterr().out == ""
    table(tmp_path, 2)  # resumed from the checkpoint after two epochs
    second = start_logger(tmp_path)
    for epoch in (2, 3):
        second.log_metrics({"epoch": epoch, "train/loss": loss(epoch)}, 2 * epoch + 1)
    table(tmp_path, 5)  # the last epoch was not logged before the failure
    close_loggers([second], failed=True)
    logged = only_log(tmp_path)
    (place,) = tmp_path.glob("wandb/*run-*")
    assert capsys.readouterr().out == f"W&B:      offline; upload it with: wandb sync {place}\n"
    assert logged.run.run_id == (tmp_path / "wandb" / "run_id").read_text().strip()
    assert logged.run.run_id.startswith("pretrain-x-0123-")
    assert (logged.run.display_name, logged.run.run_group, logged.run.job_type) == (
        *("pretrain-x-0123", "pretrain-x", "pretrain"),
    )
    assert list(logged.run.tags) == ["x", "seed0"]
    assert logged.exit_code == 1
    assert logged.column("_step") == logged.column("epoch") == [0, 1, 2, 3, 4]
    assert logged.column("trainer/global_step") == [1, 3, 5, 7, 9]
    assert logged.column("train/loss") == [loss(epoch) for epoch in range(5)]
    assert [row["_step"] for row in logged.history if "val/loss" in row] == [1, 3]


def test_the_path_to_upload_is_relative_to_the_working_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = start_logger(tmp_path)
    monkeypatch.chdir(tmp_path)
    close_loggers([logger], failed=False)
    (place,) = Path("wandb").glob("*run-*")
    assert capsys.readouterr().out.endswith(f" wandb sync {place}\n")


def test_folder_with_spaces_is_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    close_loggers([start_logger(folder)], failed=False)
    (place,) = folder.glob("wandb/*run-*")
    assert capsys.readouterr().out.endswith(f" wandb sync '{place}'\n")


def test_complete_metrics_csv_is_logged(tmp_path: Path) -> None:
    table(tmp_path, 4)
    close_loggers([start_logger(tmp_path)], failed=False)
    assert only_log(tmp_path).column("train/loss") == [loss(epoch) for epoch in range(4)]


def test_scores_without_an_epoch_are_logged(tmp_path: Path) -> None:
    logger = start_logger(tmp_path)
    logger.log_metrics({"test/accuracy": 0.5})
    close_loggers([logger], failed=False)
    logged = only_log(tmp_path)
    assert logged.column("test/accuracy") == [0.5]
    assert logged.exit_code == 0


def picture(folder: Path, name: str) -> Path:
    (folder / "figures").mkdir(exist_ok=True)
    Image.new("RGB", (4, 3)).save(folder / "figures" / name)
    return folder / "figures" / name


@pytest.mark.parametrize("scores", [{}, {"test/accuracy": 0.5}], ids=["no scores", "scores"])
def test_pictures_are_in_the_row_of_the_last_epoch(tmp_path: Path, scores: dict[str, float]) -> None:
    logger = start_logger(tmp_path)
    table(tmp_path, 2)
    for epoch in range(2):
        logger.log_metrics({"epoch": epoch, "train/loss": loss(epoch)}, 2 * epoch + 1)
    log_pictures([logger], [picture(tmp_path, "training.png"), picture(tmp_path, "views.png")])
    if scores:
        logger.log_metrics(scores)
    close_loggers([logger], failed=False)
    logged = only_log(tmp_path)
    assert logged.column("_step") == logged.column("epoch") == [0, 1]
    assert [row["_step"] for row in logged.history if "figures/views.path" in row] == [1]
    last = logged.history[-1]
    assert [last[f"figures/training.{key}"] for key in ("_type", "width", "height")] == ["image-file", 4, 3]
    (folder,) = tmp_path.glob("wandb/*run-*")
    assert (folder / "files" / last["figures/training.path"]).is_file()


def test_full_disk_for_figures_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = start_logger(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wandb, "Image", full)
    log_pictures([logger], [picture(tmp_path, "views.png")])
    assert "cannot copy the figures (No space left on device)" in capsys.readouterr().out
    close_loggers([logger], failed=False)
    assert only_log(tmp_path).exit_code == 0


def some(images: int = 9) -> Predictions:
    """Every third answer is wrong; one class each."""
    labels = np.arange(images)[:, None] % 3
    found = np.where(np.arange(images) % 3 == 0, 1, labels[:, 0])
    return Predictions("multi-class", ("a", "b", "c"), np.eye(3, dtype=np.float32)[found] * 0.4 + 0.2, labels)


def logged_table(folder: Path, log: wandb_log.Logged, key: str) -> tuple[list[str], list[list[Any]]]:
    (place,) = folder.glob("wandb/*run-*")
    table = json.loads((place / "files" / log.summary[f"{key}.path"]).read_text())
    return table["columns"], table["data"]


def test_predictions_are_a_table_in_the_row_of_the_scores(tmp_path: Path) -> None:
    logger = start_logger(tmp_path, 4, 2)
    table(tmp_path, 2)
    images = np.arange(9 * 25, dtype=np.uint8).reshape(9, 5, 5, 1)
    log_predictions([logger], some(), lambda: images)
    logger.log_metrics({"test/accuracy": 0.5})
    close_loggers([logger], failed=False)
    log = only_log(tmp_path)
    assert [row["_step"] for row in log.history if "predictions.path" in row] == [1]
    assert "test/accuracy" in log.history[-1]
    columns, rows = logged_table(tmp_path, log, "predictions")
    assert columns[:6] == ["image", "row", "true", "predicted", "right", "confidence"]
    assert [row[1] for row in rows] == [0, 3, 5, 8], "evenly spaced, errors first"
    assert [row[4] for row in rows] == [False, False, True, True]
    assert [row[0] is not None for row in rows] == [True, True, False, False]
    # The files of an upload are inside the run's folder.
    kept = [path for path in (tmp_path / "wandb" / "data").rglob("*") if path.is_file()]
    (first, second) = [Image.open(path) for path in kept if path.read_bytes().startswith(b"\x89PNG")]
    assert {np.asarray(image).tobytes() for image in (first, second)} == {images[0].tobytes(), images[3].tobytes()}
    columns, counts = logged_table(tmp_path, log, "confusion_matrix_table")
    assert columns == ["Actual", "Predicted", "nPredictions"]
    assert {(true, found): number for true, found, number in counts if number} == {
        ("a", "b"): 3,
        ("b", "b"): 3,
        ("c", "c"): 3,
    }


def test_large_images_are_reduced(tmp_path: Path) -> None:
    logger = start_logger(tmp_path, 1, 1)
    log_predictions([logger], some(), lambda: np.zeros((9, 300, 200, 3), np.uint8))
    close_loggers([logger], failed=False)
    kept = [path for path in (tmp_path / "wandb" / "data").rglob("*") if path.is_file()]
    (image,) = [Image.open(path) for path in kept if path.read_bytes().startswith(b"\x89PNG")]
    assert image.size == (67, 100)


def test_zero_rows_log_no_table(tmp_path: Path) -> None:
    logger = start_logger(tmp_path)
    log_predictions([logger], some())
    close_loggers([logger], failed=False)
    assert "predictions.path" not in only_log(tmp_path).summary


def test_failed_table_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = start_logger(tmp_path, 4, 2)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    (tmp_path / "wandb" / "data").write_text("a file in place of wandb's folder")
    log_predictions([logger], some())
    out = capsys.readouterr().out
    assert "cannot write the table of predictions (" in out
    assert "(None)" not in out
    close_loggers([logger], failed=False)
    assert only_log(tmp_path).exit_code == 0


def test_unclosed_run_counts_as_failed(tmp_path: Path) -> None:
    places = tmp_path / "one", tmp_path / "two"
    for place in places:
        place.mkdir()
    start_logger(places[0])
    close_loggers([start_logger(places[1])], failed=False)
    logs = [only_log(place) for place in places]
    assert [log.exit_code for log in logs] == [1, 0]
    assert logs[0].run.run_id != logs[1].run.run_id


def test_incomplete_upload_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, finish = start_logger(tmp_path), wandb.finish

    def cut_short(exit_code: int) -> None:
        finish(exit_code=exit_code)
        raise TimeoutError

    monkeypatch.setattr(wandb, "finish", cut_short)
    close_loggers([logger], failed=False)
    (place,) = tmp_path.glob("wandb/*run-*")
    printed = capsys.readouterr().out
    assert f"W&B:      upload incomplete; finish it with: wandb sync --include-online {place}\n" in printed


class Online:
    """A run of which the server has three epochs."""

    step = 3

    def __init__(self) -> None:
        self.logged: list[tuple[int, float]] = []

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics["train/loss"]))


def test_resumed_online_run_logs_missing_epochs_only(tmp_path: Path) -> None:
    run = Online()
    logger = WandbHistory(run, tmp_path / "metrics.csv")
    table(tmp_path, 5)
    for epoch in (2, 3, 4, 5):  # saved after two epochs, killed after five of which three had been sent
        logger.log_metrics({"epoch": epoch, "train/loss": loss(epoch)}, 2 * epoch + 1)
    assert run.logged == [(epoch, loss(epoch)) for epoch in (3, 4, 5)]
    run = Online()
    logger = WandbHistory(run, tmp_path / "metrics.csv")
    for epoch in (4, 5):  # saved after four: the server lacks the fourth
        logger.log_metrics({"epoch": epoch, "train/loss": loss(epoch)}, 2 * epoch + 1)
    assert run.logged == [(epoch, loss(epoch)) for epoch in (3, 4, 5)]


def test_event_files_have_each_epoch_once(tmp_path: Path) -> None:
    for begin, end in ((0, 3), (2, 5)):
        table(tmp_path, begin)
        logger = tensorboard_logger(tmp_path, "n", "g", "j", [])
        logger.log_hyperparams({"seed": 0})
        for epoch in range(begin, end):
            logger.log_metrics({"epoch": epoch, "train/loss": loss(epoch)}, 2 * epoch + 1)
        close_loggers([logger], failed=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["epoch", *NAMES]
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(2 * epoch + 1, pytest.approx(loss(epoch))) for epoch in range(5)]
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 1
    assert (tmp_path / "tensorboard" / "hparams.yaml").exists()


def test_missing_tensorboard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    with pytest.raises(
        RunError, match=r"^logger=tensorboard: the package tensorboard is not installed. Run pip install"
    ):
        tensorboard_logger(tmp_path, "n", "g", "j", [])


def test_missing_mlflow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RunError, match=r"^logger=mlflow: the package mlflow is not installed. Run pip install mlflow"):
        mlflow_logger(tmp_path, "n", "g", "j", [], None, str(tmp_path / "mlflow.db"), "e", 5)
