"""An encoder and a classifier head trained together: finetuning, the supervised baseline, and a teacher's student."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from simclr_med.errors import RunError
from simclr_med.evaluation.predict import predict_proba
from simclr_med.metrics import classification
from simclr_med.models.encoder_hashes import encoder_metadata
from simclr_med.models.encoders import Encoder
from simclr_med.models.losses import classification_loss
from simclr_med.types import MULTI_LABEL, Batch, Task

METRICS = (
    "train/loss",
    "train/gradient_norm",
    "train/learning_rate",
    "train/images_per_s",
    "val/loss",
    "val/accuracy",
    "val/auroc",
    "val/balanced_accuracy",
)


class LabelledImages(Protocol):
    """Images with labels."""

    @property
    def images(self) -> np.ndarray:
        """uint8 [N, H, W, C]."""

    @property
    def labels(self) -> np.ndarray | None:
        """int64 [N, L], or None."""


class ValidationData(Protocol):
    """The validation images, available once the data have been read."""

    @property
    def val(self) -> LabelledImages:
        """All validation images."""


class Classifier(LightningModule):
    """Learns classes from labelled images; scores the validation images after every epoch.

    Args:
        encoder: images_BCHW in [0, 1] to features_BD.
        head: features_BD to logits_BK.
        view: a `Batch`'s images to views_BCHW in [0, 1], one for each image.
        to_float: uint8 NHWC to float32 BCHW, for images without augmentation.
        task: what the labels mean.
        optimizer: named parameters to an optimizer.
        schedule: makes the function from an optimizer step to the factor on the learning rate.
        class_weight_K: of the loss, as in `classification_loss`; None gives every image the same weight.
        validation: the images that choose the epoch.
        label_smoothing: of the loss, as in `classification_loss`.
        head_epochs: epochs at the start in which the head trains alone, on features of the encoder in eval mode. The
            optimizer then needs separate parameter groups for the head.
        steps_per_epoch: optimizer steps of an epoch.
        ema_decay: of the averaged weights, in (0, 1), which are validated and kept (Tarvainen and Valpola, arXiv
            1703.01780, equation 2; batch normalisation's statistics are averaged too); None averages nothing.

    Attributes:
        epoch_metrics: metrics of the last epoch by name, the same on every process.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        view: nn.Module,
        to_float: Callable[[Tensor], Tensor],
        task: Task,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        schedule: Callable[[], Callable[[int], float]],
        class_weight_K: Tensor | None,
        validation: ValidationData,
        label_smoothing: float = 0.0,
        head_epochs: int = 0,
        steps_per_epoch: int = 1,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.view = view
        self.to_float = to_float
        self.task = task
        self.optimizer = optimizer
        self.schedule = schedule
        self.register_buffer("class_weight_K", class_weight_K, persistent=False)
        self.validation = validation
        self.label_smoothing = label_smoothing
        self.head_epochs = head_epochs
        self.steps_per_epoch = steps_per_epoch
        # Part of the state dict, so that checkpoints hold it.
        self.averaged: AveragedModel | None = None
        if ema_decay is not None:
            # Not torch's own function, which cannot be pickled for other processes.
            average: Any = partial(_average, ema_decay)
            self.averaged = AveragedModel(self._networks(), avg_fn=average, use_buffers=True)
            self.averaged.requires_grad_(False)  # DDP would wait for their gradients
        self.epoch_metrics: dict[str, float] = {}
        self._losses: list[Tensor] = []
        self._gradient_norm = torch.zeros(())
        self._images = 0
        self._started_at = 0.0

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([*self.encoder.named_parameters(), *self.head.named_parameters(prefix="head")])
        factor, start = self.schedule(), self.head_epochs * self.steps_per_epoch
        head = {id(parameter) for parameter in self.head.parameters()}

        def encoder_factor(step: int) -> float:
            return factor(step) if step >= start else 0.0

        factors = [factor if id(group["params"][0]) in head else encoder_factor for group in optimizer.param_groups]
        scheduler = LambdaLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def kept(self) -> tuple[Encoder, nn.Module]:
        """Return the encoder and the head that are validated and saved: the averaged ones if weights are averaged."""
        if self.averaged is None:
            return self.encoder, self.head
        networks: Any = self.averaged.module
        return networks["encoder"], networks["head"]

    def _networks(self) -> nn.ModuleDict:
        networks: Any = {"encoder": self.encoder, "head": self.head}
        return nn.ModuleDict(networks)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["encoder_metadata"] = encoder_metadata(self.encoder)

    def on_train_epoch_start(self) -> None:
        self._losses = []
        self._images = 0
        self._started_at = time.monotonic()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        views_BCHW = self.view(batch.images, batch.key, batch.rows, batch.size)
        _, epoch, _ = batch.key
        self.encoder.train(epoch >= self.head_epochs)
        logits_BK = self.head(self.encoder(views_BCHW.to(self.dtype)))
        value = self.compute_loss(logits_BK, views_BCHW, batch)
        self._losses.append(value.detach())
        self._images += batch.size
        return value

    def compute_loss(self, logits_BK: Tensor, views_BCHW: Tensor, batch: Batch) -> Tensor:
        """Return the loss of this process's share of a batch; the mean over all processes is that of the batch."""
        assert batch.labels is not None, "the stage checks that there are labels"
        weight: Any = self.class_weight_K
        return classification_loss(self.task, logits_BK, batch.labels, weight, self.label_smoothing)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self._gradient_norm = nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # Not Lightning's own, which refuses fused optimizers in bf16-mixed.
        if gradient_clip_val is not None:
            nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, self._gradient_norm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.averaged is not None:
            self.averaged.update_parameters(self._networks())
        if not self.trainer.is_last_batch:
            return
        loss = torch.stack(self._losses).mean().to(self._gradient_norm.dtype)
        loss = self.trainer.strategy.reduce(loss, reduce_op="mean")
        self.epoch_metrics = {
            "train/loss": float(loss),
            "train/gradient_norm": float(self._gradient_norm),
            "train/learning_rate": max(group["lr"] for group in self.trainer.optimizers[0].param_groups),
            "train/images_per_s": self._images / (time.monotonic() - self._started_at),
            **self.validate(),
        }
        self.log_dict(self.epoch_metrics, on_step=False, on_epoch=True, sync_dist=True, batch_size=1)

    def validate(self) -> dict[str, float]:
        """Return loss and scores on all validation images, in eval mode; NaN without any.

        Every process scores all of them.

        Raises:
            RunError: a probability is not finite, so training has diverged.
        """
        val = self.validation.val
        assert val.labels is not None, "the stage checks that there are labels"
        names = ("accuracy", "auroc", "balanced_accuracy")
        if len(val.labels) == 0:
            return dict.fromkeys(("val/loss", *(f"val/{name}" for name in names)), float("nan"))
        encoder, head = self.kept()
        probabilities_NK = predict_proba(encoder, head, self.task, val.images, self.to_float, self.device)
        if not np.isfinite(probabilities_NK).all():
            raise RunError(
                f"Diverged in epoch {self.current_epoch + 1}: a probability on validation is not finite. Training "
                "stopped; the last good checkpoint stays. Lower optimizer.lr."
            )
        scores = classification.compute_scores(self.task, val.labels, probabilities_NK)
        return {"val/loss": scores["nll"], **{f"val/{name}": scores[name] for name in names}}


def _average(decay: float, averaged: Tensor, current: Tensor, _: Tensor) -> Tensor:
    """Return the exponential moving average after one more value."""
    return decay * averaged + (1 - decay) * current


def balanced_weights(task: Task, labels_NL: np.ndarray, classes: int) -> Tensor:
    """Return class weights that balance the loss, float32 [K].

    N / (K x images of the class), as scikit-learn's "balanced" (King and Zeng 2001); 0 for a class without images.
    For a multi-label set: negatives over positives of each label; 1 for a label that has only one of the two.
    """
    if task == MULTI_LABEL:
        positive = labels_NL.sum(axis=0)
        both = (positive > 0) & (positive < len(labels_NL))
        weights = np.where(both, (len(labels_NL) - positive) / np.maximum(positive, 1), 1.0)
    else:
        counts = np.bincount(labels_NL[:, 0], minlength=classes)
        weights = np.where(counts > 0, len(labels_NL) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights).float()
