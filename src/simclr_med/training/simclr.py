"""SimCLR (Chen et al., arXiv 2002.05709) as a Lightning module: two views, one forward pass, NT-Xent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from simclr_med.evaluation.monitors import measure_encoder
from simclr_med.evaluation.representation import alignment, effective_rank, feature_std, uniformity
from simclr_med.models.encoder_hashes import encoder_metadata
from simclr_med.models.encoders import Encoder
from simclr_med.models.losses import contrastive_ranks, gather_views, nt_xent, similarity_logits
from simclr_med.training.parts import project_parts
from simclr_med.types import Batch, KnnSets

# Columns of metrics.csv, in this order.
METRICS = (
    "train/loss",
    "train/top1",
    "train/top5",
    "train/mean_rank",
    "train/alignment",
    "train/uniformity",
    "train/effective_rank",
    "train/feature_std",
    "train/gradient_norm",
    "train/learning_rate",
    "train/images_per_s",
    "val/loss",
    "val/knn_accuracy",
    "val/probe_auroc",
)


class ValidationData(Protocol):
    """The data that a run is monitored on. Only the monitors use labels; the encoder learns nothing from them."""

    def knn_sets(self) -> KnnSets | None:
        """The labelled images of the monitors; None without labels."""


class SimCLR(LightningModule):
    """Learns an encoder from unlabelled images.

    Args:
        encoder: images_BCHW in [0, 1] to features_BD.
        head: features_BD to projections_BP.
        views: a `Batch`'s images to the two views, views_2BCHW in [0, 1] (first all of view one, then all of view two).
        to_float: uint8 NHWC to float32 BCHW, for images without augmentation.
        optimizer: named parameters to an optimizer.
        schedule: makes the function from an optimizer step to the factor on the learning rate.
        temperature: of NT-Xent, above 0.
        validation: the data of the monitors, or None without any.
        knn: number of neighbours and temperature of the kNN monitor.
        parts: micro-batches that each batch passes through the network in.

    Attributes:
        epoch_metrics: metrics of the last epoch by name, the same on every process.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        views: nn.Module,
        to_float: Callable[[Tensor], Tensor],
        optimizer: Callable[[Any], torch.optim.Optimizer],
        schedule: Callable[[], Callable[[int], float]],
        temperature: float,
        validation: ValidationData | None,
        knn: tuple[int, float],
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.views = views
        self.to_float = to_float
        self.optimizer = optimizer
        self.schedule = schedule
        self.temperature = temperature
        self.validation = validation
        self.knn = knn
        self.parts = parts
        self.epoch_metrics: dict[str, float] = {}
        # Kept on the device until the epoch ends: reading a value would wait for the device at every step.
        self._step_metrics: list[dict[str, Tensor]] = []
        self._last_outputs: tuple[Tensor, Tensor] | None = None
        self._gradient_norm = torch.zeros(())
        self._validation_losses: list[float] = []
        self._images = 0
        self._started_at = 0.0

    def project(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return features_2BD and projections_2BP of a batch's views.

        Both views go through one forward pass, so that batch norm uses the statistics of both together. With several
        `parts`, these are the views of a micro-batch.
        """
        if self.parts == 1:
            return self._project_once(batch)
        return project_parts(self._project_once, batch, self.parts, self)

    def _project_once(self, batch: Batch) -> tuple[Tensor, Tensor]:
        views_2BCHW = self.views(batch.images, batch.key, batch.rows, batch.size, batch.partners)
        features_2BD = self.encoder(views_2BCHW.to(self.dtype))
        return features_2BD, self.head(features_2BD)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        features_2BD, projections_2BP = self.project(batch)
        loss = nt_xent(projections_2BP, self.temperature, patients_B=batch.patients)
        retrieval = self._retrieval_metrics(projections_2BP, batch.patients)
        self._step_metrics.append({"train/loss": loss.detach(), **retrieval})
        self._last_outputs = (features_2BD.detach(), projections_2BP.detach())
        self._images += batch.size
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        _, projections_2BP = self.project(batch)
        # Every process validates on the whole split, so the others' projections are no negatives here.
        self._validation_losses.append(float(nt_xent(projections_2BP, self.temperature, gather=False)))

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([*self.encoder.named_parameters(), *self.head.named_parameters(prefix="head")])
        scheduler = LambdaLR(optimizer, self.schedule())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["encoder_metadata"] = encoder_metadata(self.encoder)

    def on_train_epoch_start(self) -> None:
        self._step_metrics = []
        self._images = 0
        self._started_at = time.monotonic()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self._gradient_norm = nn.utils.get_total_norm(gradients)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # Not Lightning's own, which refuses fused optimizers in bf16-mixed.
        if gradient_clip_val is not None:
            nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, self._gradient_norm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.trainer.is_last_batch:
            # Before validation, since its time does not count as training; the clock counts only finished work.
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            images_per_s = self._images / (time.monotonic() - self._started_at)
            self.epoch_metrics = {**self._train_metrics(), "train/images_per_s": images_per_s}

    def on_validation_epoch_start(self) -> None:
        self._validation_losses = []

    def on_validation_epoch_end(self) -> None:
        self.epoch_metrics |= self._validation_metrics()

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.epoch_metrics, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)

    @torch.no_grad()
    def _retrieval_metrics(self, projections_2BP: Tensor, patients_B: Tensor | None = None) -> dict[str, Tensor]:
        """How well each view finds its positive among the negatives of the global batch."""
        logits, targets = similarity_logits(projections_2BP, self.temperature, patients_B=patients_B)
        ranks = contrastive_ranks(logits, targets).to(logits.dtype)
        return {
            "train/top1": (ranks < 1).to(logits.dtype).mean(),
            "train/top5": (ranks < 5).to(logits.dtype).mean(),
            "train/mean_rank": ranks.mean(),
        }

    def _train_metrics(self) -> dict[str, float]:
        """Means over the epoch's steps, and the monitors of the last global batch."""
        assert self._last_outputs is not None
        # On the CPU, since some devices have no float64.
        features_2BD, projections_2BP = (gather_views(rows)[0].cpu() for rows in self._last_outputs)
        means = {
            name: torch.stack([step[name] for step in self._step_metrics]).cpu().double().mean()
            for name in self._step_metrics[0]
        }
        monitors = {
            **means,
            "train/alignment": alignment(*projections_2BP.chunk(2)),
            "train/uniformity": uniformity(projections_2BP),
            "train/effective_rank": effective_rank(features_2BD),
            "train/feature_std": feature_std(features_2BD),
            "train/gradient_norm": self._gradient_norm.cpu(),
        }
        values = torch.stack([value.double() for value in monitors.values()])
        # The means are over this process's anchors; every process holds equally many.
        values = self.trainer.strategy.reduce(values.to(self._gradient_norm.dtype).to(self.device), reduce_op="mean")
        learning_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        return {**dict(zip(monitors, values.tolist(), strict=True)), "train/learning_rate": learning_rate}

    def _validation_metrics(self) -> dict[str, float]:
        found = {}
        if self._validation_losses:
            found["val/loss"] = sum(self._validation_losses) / len(self._validation_losses)
        sets = None if self.validation is None else self.validation.knn_sets()
        return found | measure_encoder(self.encoder, sets, self.to_float, self.device, *self.knn)
