"""SimCLR (Chen et al. 2020) as a Lightning module: two views, one forward, NT-Xent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from simclr_med.evaluation.knn import validation_knn_accuracy
from simclr_med.evaluation.representation import alignment, effective_rank, feature_std, uniformity
from simclr_med.models.encoder_files import encoder_metadata
from simclr_med.models.encoders import Encoder
from simclr_med.models.losses import contrastive_ranks, similarity_logits
from simclr_med.types import Batch, KnnSets

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
)


class ValidationData(Protocol):
    """What a run looks at now and then, besides its training images. Nothing is learned or chosen from labels."""

    def val_batches(self) -> Iterator[Batch]:
        """The validation split in whole batches of at most the training batch's size, in order."""

    def knn_sets(self) -> KnnSets | None:
        """The labelled images of the kNN monitor; None without labels."""


class SimCLR(LightningModule):
    """Learns an encoder from unlabelled images.

    Args:
        encoder: images_BCHW in [0, 1] to features_BD.
        head: features_BD to projections_BP.
        views: a `Batch`'s images to the two views, views_2BCHW in [0, 1] (first all of view one, then all of view two).
        to_float: uint8 NHWC to float32 BCHW, for images seen without augmentation.
        optimizer: named parameters to an optimizer.
        schedule: makes the function from an optimizer step to the factor on the learning rate.
        temperature: of NT-Xent.
        looks: the validation data, or None without any.
        look_every: epochs between two looks.
        knn: k and temperature of the k-nearest-neighbour monitor.
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
        looks: ValidationData | None,
        look_every: int,
        knn: tuple[int, float],
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.views, self.to_float = encoder, head, views, to_float
        self.optimizer, self.schedule, self.temperature = optimizer, schedule, temperature
        self.looks, self.look_every, self.knn = looks, look_every, knn
        self.epoch_metrics: dict[str, float] = {}
        # Of the epoch under way: loss, top-1, top-5 and mean rank of each step, left on the device until it ends.
        self._told: list[Tensor] = []
        self._gradient_norm = torch.zeros(())
        self._images, self._began = 0, 0.0
        self._last: tuple[Tensor, Tensor] | None = None

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([*self.encoder.named_parameters(), *self.head.named_parameters(prefix="head")])
        scheduler = LambdaLR(optimizer, self.schedule())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["encoder_metadata"] = encoder_metadata(self.encoder)

    def project(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """features_2BD and projections_2BP of a batch's views: one forward, so batch norm sees both views together."""
        views_2BCHW = self.views(batch.images, batch.key, batch.rows, batch.size)
        features_2BD = self.encoder(views_2BCHW.to(self.dtype))
        return features_2BD, self.head(features_2BD)

    def on_train_epoch_start(self) -> None:
        self._told = []
        self._images, self._began = 0, time.monotonic()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        features_2BD, projections_2BP = self.project(batch)
        logits, targets = similarity_logits(projections_2BP, self.temperature)
        loss = F.cross_entropy(logits, targets)
        with torch.no_grad():
            ranks = contrastive_ranks(logits, targets).to(loss.dtype)
            hits = [(ranks < k).to(loss.dtype).mean() for k in (1, 5)]
            self._told.append(torch.stack((loss, *hits, ranks.mean())))
        self._images += batch.size
        self._last = (features_2BD.detach(), projections_2BP.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self._gradient_norm = nn.utils.get_total_norm(gradients)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if not self.trainer.is_last_batch:
            return
        # The time first: the looks below are not training.
        images_per_s = self._images / (time.monotonic() - self._began)
        self.epoch_metrics = {**self._train_metrics(), "train/images_per_s": images_per_s}
        epoch = self.current_epoch + 1
        if self.looks is not None and (epoch % self.look_every == 0 or epoch == self.trainer.max_epochs):
            self.epoch_metrics |= self.look()
        self.log_dict(self.epoch_metrics, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)

    def _train_metrics(self) -> dict[str, float]:
        assert self._last is not None
        # On the CPU: some devices know no float64.
        features, projections = (rows.cpu() for rows in self._last)
        told = torch.stack(
            (
                *torch.stack(self._told).cpu().double().mean(dim=0),
                alignment(*projections.chunk(2)).double(),
                uniformity(projections).double(),
                effective_rank(features).double(),
                feature_std(features).double(),
                self._gradient_norm.cpu().double(),
            )
        )
        told = self.trainer.strategy.reduce(told.to(self._gradient_norm.dtype).to(self.device), reduce_op="mean")
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        return {**dict(zip(METRICS[: len(told)], told.tolist(), strict=True)), "train/learning_rate": rate}

    @torch.no_grad()
    def look(self) -> dict[str, float]:
        """Loss and kNN accuracy on the validation split, by the encoder in eval mode. Every process does all of it."""
        assert self.looks is not None
        modes = self.encoder.training, self.head.training
        self.encoder.eval(), self.head.eval()
        losses = []
        for batch in self.looks.val_batches():
            moved = batch._replace(images=batch.images.to(self.device))
            logits, targets = similarity_logits(self.project(moved)[1], self.temperature, gather=False)
            losses.append(float(F.cross_entropy(logits, targets)))
        found = {"val/loss": sum(losses) / len(losses)} if losses else {}
        accuracy = validation_knn_accuracy(self.encoder, self.looks.knn_sets(), self.to_float, self.device, *self.knn)
        if accuracy is not None:
            found["val/knn_accuracy"] = accuracy
        self.encoder.train(modes[0]), self.head.train(modes[1])
        return found
