"""metrics.csv holds each epoch once, also when some are done again after a kill."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simclr_med.learning.recording import MetricsFile, rows


def epochs(path: Path, first: int, last: int) -> None:
    recorder = MetricsFile(path, ("train/loss", "val/loss"))
    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=first, global_step=0)
    recorder.on_train_start(trainer, SimpleNamespace())  # type: ignore[arg-type]
    for epoch in range(first, last + 1):
        trainer.current_epoch, trainer.global_step = epoch, 2 * (epoch + 1)
        metrics = {"train/loss": 0.1 * epoch} | ({"val/loss": 1.0} if epoch % 2 else {})
        recorder.on_train_epoch_end(trainer, SimpleNamespace(epoch_metrics=metrics))  # type: ignore[arg-type]


def test_rows_and_empty_cells(tmp_path: Path) -> None:
    epochs(tmp_path / "metrics.csv", 0, 2)
    table = rows(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in table] == ["0", "1", "2"]
    assert [row["val/loss"] for row in table] == ["", "1.0", ""]


def test_a_resume_drops_what_it_does_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    epochs(path, 0, 3)
    before = float(rows(path)[1]["wall_s"])
    epochs(path, 2, 4)
    assert [row["epoch"] for row in rows(path)] == ["0", "1", "2", "3", "4"]
    assert float(rows(path)[2]["wall_s"]) >= before


def test_a_row_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    epochs(path, 0, 2)
    path.write_bytes(path.read_bytes()[:-12])
    assert [row["epoch"] for row in rows(path)] == ["0", "1"]
    epochs(path, 2, 2)
    assert [row["epoch"] for row in rows(path)] == ["0", "1", "2"]
