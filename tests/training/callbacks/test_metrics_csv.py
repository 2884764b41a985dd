"""metrics.csv holds each epoch once, also when a resumed run repeats some."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simclr_med.metrics_csv import read_rows
from simclr_med.training.callbacks.metrics_csv import MetricsCsv


def write_epochs(path: Path, first: int, last: int) -> None:
    recorder = MetricsCsv(path, ("train/loss", "val/loss"))
    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=first, global_step=0)
    recorder.on_train_start(trainer, SimpleNamespace())  # type: ignore[arg-type]
    for epoch in range(first, last + 1):
        trainer.current_epoch, trainer.global_step = epoch, 2 * (epoch + 1)
        metrics = {"train/loss": 0.1 * epoch} | ({"val/loss": 1.0} if epoch % 2 else {})
        recorder.on_train_epoch_end(trainer, SimpleNamespace(epoch_metrics=metrics))  # type: ignore[arg-type]


def test_rows_and_empty_cells(tmp_path: Path) -> None:
    write_epochs(tmp_path / "metrics.csv", 0, 2)
    table = read_rows(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in table] == ["0", "1", "2"]
    assert [row["val/loss"] for row in table] == ["", "1.0", ""]


def test_resume_drops_the_rows_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_epochs(path, 0, 3)
    before = float(read_rows(path)[1]["wall_s"])
    write_epochs(path, 2, 4)
    assert [row["epoch"] for row in read_rows(path)] == ["0", "1", "2", "3", "4"]
    assert float(read_rows(path)[2]["wall_s"]) >= before


def test_incomplete_row_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_epochs(path, 0, 2)
    path.write_bytes(path.read_bytes()[:-12])
    assert [row["epoch"] for row in read_rows(path)] == ["0", "1"]
    write_epochs(path, 2, 2)
    assert [row["epoch"] for row in read_rows(path)] == ["0", "1", "2"]


def resumed_recorder(path: Path, state: dict[str, Any]) -> MetricsCsv:
    """Return a recorder with the state of a checkpoint."""
    recorder = MetricsCsv(path, ("train/loss", "val/loss"))
    recorder.load_state_dict(state)
    return recorder


def checkpoint_state(path: Path, last: int) -> dict[str, Any]:
    recorder = MetricsCsv(path, ("train/loss", "val/loss"))
    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=0, global_step=0)
    recorder.on_train_start(trainer, SimpleNamespace())  # type: ignore[arg-type]
    for trainer.current_epoch in range(last + 1):
        recorder.on_train_epoch_end(trainer, SimpleNamespace(epoch_metrics={"train/loss": 0.1}))  # type: ignore[arg-type]
    return recorder.state_dict()


@pytest.mark.parametrize("content", [None, b"", b"epoch,st", b"\xff\xfe\0\0\n1,2\n", "half"])
def test_resume_restores_every_epoch_of_a_damaged_file(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "metrics.csv"
    state = checkpoint_state(path, 4)
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(whole[:90] if isinstance(content, str) else content)
    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=5)
    resumed_recorder(path, state).on_train_start(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert path.read_bytes() == whole


def test_rows_are_restored_when_training_was_finished(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    state = checkpoint_state(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=3)
    resumed_recorder(path, state).on_fit_end(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert path.read_bytes() == whole


def test_lost_epochs_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.csv"
    write_epochs(path, 0, 1)
    write_epochs(path, 5, 5)
    assert "3 of 5 epochs are unreadable" in capsys.readouterr().out


def test_full_disk_at_a_resume_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    write_epochs(path, 0, 3)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics.csv'"):
        write_epochs(path, 2, 2)
    assert path.read_bytes() == before
