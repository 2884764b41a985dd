"""Types and bounds of the stages that train no network of their own."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Optional

from omegaconf import MISSING

from simclr_med.config.bounds import bounded, one_of, seeds
from simclr_med.config.nodes import Part, node
from simclr_med.config.stage_kinds import CurveStage, RepeatedStage, Stage

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045


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
class Test(Stage):
    run: str = MISSING
    resamples: int = bounded(0)
    corruptions: bool = MISSING
    family: Optional[str] = MISSING
    family_of: dict[str, str] = field(default_factory=dict)
    families: dict[str, Any] = field(default_factory=dict)
    ood: list[str] = MISSING
    ood_neighbours: int = bounded(1)

    def reason_unread(self, key: str) -> Optional[str]:
        if key == "stage.family" and not self.corruptions:
            return "it needs stage.corruptions=true"
        if key == "stage.ood_neighbours" and not self.ood:
            return "it needs stage.ood"
        return super().reason_unread(key)


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
    probe_repeats: list[int] = seeds()
    repeats: list[int] = seeds()
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
