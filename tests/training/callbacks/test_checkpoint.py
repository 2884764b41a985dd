"""Checkpoints are written atomically, the preceding one is kept, and damaged ones are skipped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from simclr_med.errors import CheckpointError
from simclr_med.training.callbacks.checkpoint import AtomicCheckpointIO, Checkpoints, find_resumable


def save(folder: Path, epoch: int) -> None:
    AtomicCheckpointIO().save_checkpoint({"epoch": epoch, "w": torch.full((1000,), float(epoch))}, folder / "last.ckpt")


def test_no_checkpoint(tmp_path: Path) -> None:
    assert find_resumable(tmp_path) is None


def test_last_checkpoint_is_resumed_and_preceding_one_kept(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    found = find_resumable(tmp_path)
    assert found is not None
    assert (found[0].name, found[1]["epoch"]) == ("last.ckpt", 2)
    assert torch.load(tmp_path / "previous.ckpt", weights_only=True)["epoch"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("length", [0, 10, 2000])
def test_truncated_checkpoint_falls_back_to_preceding_one(tmp_path: Path, capsys, length: int) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:length])
    found = find_resumable(tmp_path)
    assert found is not None
    assert (found[0].name, found[1]["epoch"]) == ("previous.ckpt", 1)
    assert "Resuming from previous.ckpt" in capsys.readouterr().out


def test_good_checkpoint_stays_after_a_fallback(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "last.ckpt").write_bytes(b"x")
    assert find_resumable(tmp_path)[1]["epoch"] == 1
    save(tmp_path, 2)
    (tmp_path / "last.ckpt").write_bytes(b"x")
    assert find_resumable(tmp_path)[1]["epoch"] == 1


@pytest.mark.parametrize(("watched", "first", "chosen"), [("val/x", 0, [0, 3]), ("val/x", 2, [2, 3]), (None, 0, [])])
def test_best_checkpoint_is_saved_where_an_epoch_is_chosen(
    tmp_path: Path, watched: str | None, first: int, chosen: list[int]
) -> None:
    saved: list[int] = []
    trainer: Any = SimpleNamespace(
        should_stop=False,
        max_epochs=9,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
        save_checkpoint=lambda path, weights_only=False: saved.append(trainer.current_epoch),
    )
    callback = Checkpoints(tmp_path, 1e9, {}, watched, higher=True, first=first)
    for trainer.current_epoch, value in enumerate((0.6, float("nan"), 0.5, 0.7, 0.7)):
        callback.on_train_epoch_end(trainer, SimpleNamespace(epoch_metrics={"val/x": value}))  # type: ignore[arg-type]
    assert saved == chosen


def test_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"could not be written, with \d+ MiB free .* \(No such file"):
        save(tmp_path / "run" / "checkpoints", 1)


def test_all_checkpoints_damaged_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="overwrite=true"):
        find_resumable(tmp_path)


def test_full_disk_is_one_line_and_keeps_the_checkpoint(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path, 1)

    def full(content: object, file: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1 vs 2")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"last.ckpt: could not be written, with \d+ MiB free on its disk"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert find_resumable(tmp_path)[1]["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_failed_save_keeps_the_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2, "no": (x for x in ())}, tmp_path / "last.ckpt")
    assert find_resumable(tmp_path)[1]["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
