"""A collapsed run stops with one line within two epochs and keeps its last good checkpoint."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.errors import DataError, RunError
from simclr_med.runs.identity import Init
from simclr_med.runs.run import Run, open_run
from simclr_med.stages.pretrain import pretrain
from simclr_med.training.callbacks.collapse import CollapseGuard

GUARD = CollapseGuard(effective_rank=1.5, feature_std=0.02, uniformity=-0.01, gradient_norm=0.005, width=64)
HEALTHY = {
    "train/loss": 3.0,
    "train/effective_rank": 30.0,
    "train/feature_std": 0.1,
    "train/uniformity": -0.5,
    "train/gradient_norm": 3.0,
}


def end_epoch(**changed: float) -> None:
    metrics = HEALTHY | {f"train/{name}": value for name, value in changed.items()}
    trainer: Any = SimpleNamespace(current_epoch=1)
    GUARD.on_train_epoch_end(trainer, SimpleNamespace(epoch_metrics=metrics))  # type: ignore[arg-type]


def test_healthy_epoch_passes() -> None:
    end_epoch()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss", math.nan, "the loss is nan"),
        ("effective_rank", 1.01, "effective rank is 1.01"),
        ("effective_rank", math.nan, "effective rank is nan"),
        ("feature_std", 1e-5, "spread is"),
        ("uniformity", -1e-5, "all projections are equal"),
        ("gradient_norm", 1e-4, "the gradient has vanished"),
    ],
)
def test_each_sign_of_collapse_stops_the_run(name: str, value: float, message: str) -> None:
    with pytest.raises(RunError, match=f"Collapse in epoch 2: .*{message}"):
        end_epoch(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("effective_rank", 1.01, "lower stage.collapse.effective_rank=1.5"),
        ("feature_std", 1e-5, "lower stage.collapse.feature_std=0.02"),
        ("uniformity", -1e-5, "raise stage.collapse.uniformity=-0.01"),
        ("gradient_norm", 1e-4, "lower stage.collapse.gradient_norm=0.005"),
    ],
)
def test_message_names_the_limit_that_was_reached(name: str, value: float, remedy: str) -> None:
    with pytest.raises(RunError, match=rf"differ\. If this is no collapse, {remedy}\.$"):
        end_epoch(**{name: value})
    with pytest.raises(RunError, match=r"differ\.$"):
        end_epoch(**{name: math.nan})


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_the_run_at_once(loss: float) -> None:
    trainer: Any = SimpleNamespace(current_epoch=0)
    with pytest.raises(RunError, match="Collapse in epoch 1: the loss is"):
        GUARD.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss)}, None, 0)  # type: ignore[arg-type]


def start(composed, folder, path, *words: str) -> Run:
    cfg = validate_config(
        composed(
            *("dataset=npz", f"dataset.path={path}", f"paths.runs={folder}", "encoder=tiny", "stage.epochs=4"),
            *("stage.batch_size=16", "logger=none", "trainer=cpu", "trainer.threads=1", *words),
        )
    )
    with open_run(cfg, "d", Init("random", "random")) as run:
        pretrain(run, build.build_source(cfg))
    return run


def test_huge_learning_rate_stops_within_two_epochs(composed, tmp_path, cells) -> None:
    with pytest.raises(RunError, match=r"Collapse in epoch [12]:"):
        start(composed, tmp_path, cells, "optimizer.lr=100")
    assert not list(tmp_path.glob("pretrain/*/*/result.json"))


def test_features_that_are_not_finite_stop_the_run(composed, tmp_path, cells, monkeypatch) -> None:
    # A GPU's loss is read every 50 steps, so that an epoch can end before.
    monkeypatch.setattr(CollapseGuard, "on_train_batch_end", lambda *_: None)
    with pytest.raises(RunError, match="Collapse in epoch 1: the loss is nan"):
        start(composed, tmp_path, cells, "optimizer.lr=1e30")


def test_constant_images_are_refused_before_training(composed, tmp_path) -> None:
    grey = np.full((40, 28, 28), 90, np.uint8)
    np.savez(tmp_path / "grey.npz", **{f"{split}_images": grey for split in ("train", "val", "test")})
    with pytest.raises(DataError, match="all training images are the same"):
        start(composed, tmp_path, tmp_path / "grey.npz")
