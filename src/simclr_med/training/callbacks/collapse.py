"""Early detection of collapsed features and of a loss that is not finite."""

from __future__ import annotations

import math
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from simclr_med.errors import RunError
from simclr_med.training.callbacks.metrics_csv import HasEpochMetrics

CHECK_EVERY = 50  # steps between two reads of the loss on a GPU, since each read waits for the GPU


class CollapseGuard(Callback):
    """Stops a collapsed run with a one-line error before its checkpoint is saved, so that the last good one stays.

    Args:
        effective_rank: features of the last batch count as collapsed at this effective rank or below.
        feature_std: features count as collapsed at this spread or below. The spread is the mean standard deviation
            of the L2-normalised features times the square root of their width: 1 when they cover the sphere evenly.
        uniformity: projections count as collapsed at this uniformity or above; it is 0 when all are equal.
        gradient_norm: training counts as stopped at this gradient norm of the last step or below.
        width: of the features, D.
    """

    def __init__(
        self, effective_rank: float, feature_std: float, uniformity: float, gradient_norm: float, width: int
    ) -> None:
        self.effective_rank, self.feature_std, self.width = effective_rank, feature_std, width
        self.uniformity, self.gradient_norm = uniformity, gradient_norm

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"]
        is_read = loss.device.type == "cpu" or (batch_idx + 1) % CHECK_EVERY == 0
        if is_read and not math.isfinite(float(loss)):
            raise collapse_error(trainer.current_epoch, f"the loss is {float(loss)}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = cast(HasEpochMetrics, pl_module).epoch_metrics
        if not math.isfinite(metrics["train/loss"]):
            raise collapse_error(trainer.current_epoch, f"the loss is {metrics['train/loss']}")
        if not math.isfinite(metrics.get("val/loss", 0.0)):
            raise collapse_error(trainer.current_epoch, f"the loss on validation is {metrics['val/loss']}")
        rank = metrics["train/effective_rank"]
        spread = metrics["train/feature_std"] * math.sqrt(self.width)
        uniformity, norm = metrics["train/uniformity"], metrics["train/gradient_norm"]
        # By the key of the limit: the value, whether it is healthy, the sign in words, and how to move the limit.
        signs = {
            "effective_rank": (
                rank,
                rank > self.effective_rank,
                f"the features' effective rank is {rank:.2f}",
                "lower",
            ),
            "feature_std": (
                spread,
                spread > self.feature_std,
                f"the features' spread is {spread:.1e} of an even one",
                "lower",
            ),
            "uniformity": (uniformity, uniformity < self.uniformity, "all projections are equal", "raise"),
            "gradient_norm": (norm, norm > self.gradient_norm, f"the gradient has vanished ({norm:.1e})", "lower"),
        }
        for limit, (value, is_healthy, why, verb) in signs.items():
            if not is_healthy:
                remedy = None if math.isnan(value) else f"{verb} stage.collapse.{limit}={getattr(self, limit)}"
                raise collapse_error(trainer.current_epoch, why, remedy)


def collapse_error(epoch: int, why: str, remedy: str | None = None) -> RunError:
    """Return the error of a collapse.

    Args:
        epoch: from 0.
        why: the sign of it, in words.
        remedy: what to change if the run is healthy; None for a value that is not finite.
    """
    change = "" if remedy is None else f" If this is no collapse, {remedy}."
    return RunError(
        f"Collapse in epoch {epoch + 1}: {why}. Training stopped; the last good checkpoint stays. "
        f"Lower optimizer.lr, or check that the images differ.{change}"
    )
