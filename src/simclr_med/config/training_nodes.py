"""Types and bounds of the stages that train a network: pretraining, supervised training and distillation."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any, Optional

from omegaconf import MISSING

from simclr_med.config.bounds import bounded, one_of
from simclr_med.config.nodes import Part, node
from simclr_med.config.stage_kinds import CurveStage, TrainingStage
from simclr_med.types import ValidationImages

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045

MOST_UNITS = 65_536  # of a layer: one of this width has 17 GB of weights already


@node
class Head(Part):
    hidden: Optional[int] = bounded(1, MOST_UNITS)
    out: int = bounded(2, MOST_UNITS)
    layers: int = bounded(1, 4)
    batch_norm: bool = MISSING


@node
class KNN(Part):
    k: int = bounded(1)
    temperature: float = bounded(open_low=0)
    bank: int = bounded(2)


@node
class Collapse(Part):
    effective_rank: float = bounded(0)
    feature_std: float = bounded(0)
    uniformity: float = bounded(high=0)
    gradient_norm: float = bounded(0)


@node
class Pretrain(TrainingStage):
    accumulate: int = bounded(1)
    exact_accumulate: bool = MISSING
    positives: str = one_of("image", "patient")
    mask_same_patient: bool = MISSING
    temperature: float = bounded(open_low=0)
    monitor_every: int = bounded(1)
    freeze: Any = MISSING
    head: Head = field(default_factory=Head)
    knn: KNN = field(default_factory=KNN)
    collapse: Collapse = field(default_factory=Collapse)

    @property
    def batches_per_step(self) -> int:
        return 1 if self.exact_accumulate else self.accumulate

    @property
    def parts(self) -> int:
        return self.accumulate if self.exact_accumulate else 1

    @property
    def pairs_patients(self) -> bool:
        return self.positives == "patient"

    @property
    def masks_patients(self) -> bool:
        return self.mask_same_patient

    @property
    def knn_bank(self) -> int:
        return self.knn.bank


@node
class ClassifierStage(TrainingStage, CurveStage):
    """A stage that trains an encoder with a classifier, and scores both."""

    resamples: int = bounded(0)

    @property
    def watched(self) -> Optional[str]:
        """The metric that selects the epoch; None if the last one is kept."""
        return None

    def patience_epochs(self, steps_per_epoch: int) -> int:
        """Epochs without improvement after which training stops.

        Args:
            steps_per_epoch: optimizer steps, 1 or more.
        """
        return self.epochs


@node
class Supervised(ClassifierStage):
    min_steps: int = bounded(0)
    select_by: str = one_of("last", "auroc", "accuracy", "loss")
    patience: Optional[int] = bounded(1)
    patience_steps: int = bounded(0)
    class_weights: str = one_of("none", "balanced")
    label_smoothing: float = bounded(0, 0.9)
    encoder_lr: float = bounded(open_low=0, high=1)
    layer_decay: float = bounded(open_low=0, high=1)
    head_epochs: int = bounded(0)
    freeze: Any = MISSING
    ema_decay: Optional[float] = bounded(open_low=0, high=0.9999)
    projection_layers: int = one_of(0, 1)

    @property
    def least_steps(self) -> int:
        return math.ceil(self.min_steps / self.epochs)

    def patience_epochs(self, steps_per_epoch: int) -> int:
        """Epochs without improvement after which training stops: at least patience, and at least patience_steps.

        Args:
            steps_per_epoch: optimizer steps, 1 or more.
        """
        if self.patience is None:
            return self.epochs
        return max(self.patience, math.ceil(self.patience_steps / steps_per_epoch))

    @property
    def watched(self) -> Optional[str]:
        """The metric that selects the epoch; None if the last one is kept."""
        return None if self.select_by == "last" else f"val/{self.select_by}"

    def validates_on(self, validation: str) -> ValidationImages:
        if validation == "split":
            return "split"
        return "none" if self.watched is None else "held_out"


@node
class Distill(ClassifierStage):
    teacher: Optional[str] = MISSING
    teacher_fields: list[str] = MISSING
    temperature: float = bounded(open_low=0)
    alpha: float = bounded(open_low=0, high=1)

    @property
    def finds_teacher(self) -> str:
        return "simclr_med.runs.teachers.find_teacher"

    @property
    def trains_on_all(self) -> bool:
        return True

    @property
    def least_steps(self) -> int:
        return 1

    def validates_on(self, validation: str) -> ValidationImages:
        return "split" if validation == "split" else "none"
