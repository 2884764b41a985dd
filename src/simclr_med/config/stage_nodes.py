"""Types and bounds of the group stage."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any, Optional

from omegaconf import MISSING

from simclr_med.config.bounds import bounded, one_of
from simclr_med.config.nodes import Option, Part, Untyped, node
from simclr_med.types import ValidationImages

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045

MOST_UNITS = 65_536  # of a layer: one of this width has 17 GB of weights already


@node
class Stage(Option):
    """What every stage states.

    Attributes:
        unread: groups and keys that the stage does not use, each with the reason; an override of one is an error.
        folder: name of the run's folder in the stage's folder; null names it after the data set and the config.
        named_after_init: whether the folder is named after the run whose encoder or classifier the stage uses.
    """

    unread: dict[str, str] = field(default_factory=dict)
    folder: Optional[str] = None
    named_after_init: bool = False

    def reason_unread(self, key: str) -> Optional[str]:
        """Why the stage does not use a group or key; None if it uses it."""
        return self.unread.get(key)

    @property
    def is_repeated(self) -> bool:
        """Whether a finished run of this stage is executed again by the same command."""
        return False

    @property
    def schedule_epochs(self) -> Optional[int]:
        """Epochs that the schedule of the config spans; None for a stage that uses no schedule."""
        return None

    @property
    def lists_steps(self) -> Optional[str]:
        """The function of (config, source) that dry_run=true calls; None prints the state of the run."""
        return None

    @property
    def finds_teacher(self) -> Optional[str]:
        """The function of (config) that finds the classifier whose predictions the stage learns; None without one."""
        return None


class UntypedStage(Untyped, Stage):
    """A stage of the user's own YAML."""

    @property
    def is_repeated(self) -> bool:
        return bool(vars(self).get("always", False))

    @property
    def schedule_epochs(self) -> Optional[int]:
        epochs = vars(self).get("epochs")
        return epochs if isinstance(epochs, int) else None


@node
class TrainingStage(Stage):
    """A stage that trains a network in epochs."""

    epochs: int = bounded(1)
    batch_size: int = bounded(2)
    checkpoint_every_s: float = bounded(0)

    @property
    def schedule_epochs(self) -> Optional[int]:
        return self.epochs

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients one optimizer step sums; each has its own loss."""
        return 1

    @property
    def parts(self) -> int:
        """Micro-batches that a batch passes through the network in; they share one loss."""
        return 1

    @property
    def pairs_patients(self) -> bool:
        """Whether the second view comes from another image of the same patient."""
        return False

    @property
    def masks_patients(self) -> bool:
        """Whether the loss has to know which images are of the same patient."""
        return False

    @property
    def least_steps(self) -> Optional[int]:
        """Minimum number of optimizer steps of an epoch; None for a stage whose epoch is one pass over the images."""
        return None

    @property
    def knn_bank(self) -> int:
        """Training images of the monitors on validation, at most; 0 for a stage without monitors."""
        return 0

    @property
    def trains_on_all(self) -> bool:
        """Whether every training image is used, so that the label budget only says which labels are."""
        return False

    def validates_on(self, validation: str) -> ValidationImages:
        """Return the images that are validated after an epoch.

        Args:
            validation: data_fraction.validation.
        """
        return "split"


@node
class CurveStage(Stage):
    """A stage that one command runs for several label budgets, seeds and encoders."""

    budgets: list[Any] = MISSING
    seeds: list[int] = MISSING
    init_seeds: list[int] = MISSING


@node
class RepeatedStage(Stage):
    """A stage that may run again although it is finished."""

    always: bool = MISSING

    @property
    def is_repeated(self) -> bool:
        return self.always


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
class Neighbours(Part):
    k: int = bounded(1)
    temperature: float = bounded(open_low=0)


@node
class Logistic(Part):
    _target_: str = MISSING
    lowest: float = bounded(open_low=0)
    highest: float = bounded(open_low=0)
    points: int = bounded(1)
    select_by: str = one_of("auroc", "accuracy", "nll")
    max_iterations: int = bounded(1)
    tolerance: float = bounded(open_low=0)


@node
class OriginalLayer(Part):
    _target_: str = MISSING
    lr: float = bounded(open_low=0)
    weight_decay: float = bounded(0)
    epochs: int = bounded(1)
    batch_size: int = bounded(1)
    milestones: list[float] = MISSING
    gamma: float = bounded(open_low=0, high=1)


@node
class Solvers(Part):
    logistic: Logistic = field(default_factory=Logistic)
    sgd: OriginalLayer = field(default_factory=OriginalLayer)

    def chosen(self, solver: str) -> Part:
        """The node of a solver."""
        nodes: dict[str, Part] = {"logistic": self.logistic, "sgd": self.sgd}
        return nodes[solver]


@node
class Probe(CurveStage):
    solver: str = one_of("logistic", "sgd")
    solvers: Solvers = field(default_factory=Solvers)
    knn: Neighbours = field(default_factory=Neighbours)
    resamples: int = bounded(0)


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


@node
class Test(Stage):
    run: str = MISSING
    resamples: int = bounded(0)
    corruptions: bool = MISSING
    family: Optional[str] = MISSING
    family_of: dict[str, str] = field(default_factory=dict)
    families: dict[str, Any] = field(default_factory=dict)
    ood: list[str] = MISSING
    ood_neighbours: int = bounded(1)


@node
class Predict(Stage):
    run: str = MISSING
    chunk: int = bounded(1)


@node
class Export(RepeatedStage):
    run: str = MISSING
    format: list[str] = MISSING
    size: Optional[int] = bounded(1, 4096)
    license: str = MISSING
    push_to_hub: Optional[str] = MISSING


@node
class Study(RepeatedStage):
    epochs: int = bounded(1)
    batch_size: Optional[int] = bounded(2)
    temperature: Optional[float] = bounded(open_low=0)
    supervised_epochs: int = bounded(1)
    supervised_min_steps: int = bounded(0)
    curve: list[Any] = MISSING
    supervised: list[Any] = MISSING
    encoders: int = bounded(1)
    probe_repeats: list[int] = MISSING
    repeats: list[int] = MISSING
    foundation: list[str] = MISSING
    foundation_size: Optional[int] = bounded(1, 4096)
    continue_pretraining: bool = MISSING
    timed_steps: int = bounded(0)

    @property
    def schedule_epochs(self) -> Optional[int]:
        return self.epochs

    @property
    def lists_steps(self) -> Optional[str]:
        return "simclr_med.stages.study_states.list_steps"


@node
class Preview(RepeatedStage):
    sequences: list[str] = MISSING
    options: dict[str, Any] = field(default_factory=dict)
    originals: int = bounded(2, 20)
    audited: int = bounded(0)
    images: int = bounded(1, 40)
    views: int = bounded(1, 20)


@node
class Audit(Stage):
    groups_csv: Optional[str] = MISSING
    neighbours: int = bounded(1, 100)
    pictures: int = bounded(1, 200)
    classifier: Logistic = field(default_factory=Logistic)


@node
class Analyse(Stage):
    run: Optional[str] = MISSING
    points: int = bounded(10)
    perplexities: list[float] = MISSING
    components: int = bounded(2)
    queries: int = bounded(1, 40)
    neighbours: int = bounded(1, 20)
    knn: Neighbours = field(default_factory=Neighbours)
    cams: int = bounded(1, 20)


@node
class Report(Stage):
    datasets: list[str] = MISSING
    out: Optional[str] = MISSING
    margin: float = bounded(0, 1)
    mixed: bool = MISSING
    dashboard: bool = MISSING
    wandb: dict[str, Any] = field(default_factory=dict)
