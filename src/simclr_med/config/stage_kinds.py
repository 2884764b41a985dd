"""The kinds of stages, which the nodes of the group stage are subclasses of."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Optional

from omegaconf import MISSING

from simclr_med.config import bounds
from simclr_med.config.bounds import bounded
from simclr_med.config.nodes import Option, Untyped, node
from simclr_med.types import ValidationImages

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045


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
    seeds: list[int] = bounds.seeds()
    init_seeds: list[int] = bounds.seeds()


@node
class RepeatedStage(Stage):
    """A stage that may run again although it is finished."""

    always: bool = MISSING

    @property
    def is_repeated(self) -> bool:
        return self.always
