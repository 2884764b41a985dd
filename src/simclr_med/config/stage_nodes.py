"""Types and bounds of the group stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import MISSING

from simclr_med.config.bounds import bounded, one_of

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045


@dataclass
class Head:
    hidden: Optional[int] = bounded(1)
    out: int = bounded(2)
    layers: int = bounded(1, 4)
    batch_norm: bool = MISSING


@dataclass
class KNN:
    k: int = bounded(1)
    temperature: float = bounded(open_low=0)
    bank: int = bounded(2)


@dataclass
class Collapse:
    effective_rank: float = bounded(0)
    feature_std: float = bounded(0)
    uniformity: float = bounded(high=0)
    gradient_norm: float = bounded(0)


@dataclass
class Pretrain:
    name: str = MISSING
    _target_: str = MISSING
    epochs: int = bounded(1)
    batch_size: int = bounded(2)
    accumulate: int = bounded(1)
    temperature: float = bounded(open_low=0)
    monitor_every: int = bounded(1)
    checkpoint_every_s: float = bounded(0)
    head: Head = field(default_factory=Head)
    knn: KNN = field(default_factory=KNN)
    collapse: Collapse = field(default_factory=Collapse)


@dataclass
class Neighbours:
    k: int = bounded(1)
    temperature: float = bounded(open_low=0)


@dataclass
class Lbfgs:
    _target_: str = MISSING
    lowest: float = bounded(open_low=0)
    highest: float = bounded(open_low=0)
    points: int = bounded(1)
    select_by: str = one_of("auroc", "accuracy", "nll")
    max_iterations: int = bounded(1)
    tolerance: float = bounded(open_low=0)


@dataclass
class OriginalLayer:
    _target_: str = MISSING
    lr: float = bounded(open_low=0)
    weight_decay: float = bounded(0)
    epochs: int = bounded(1)
    batch_size: int = bounded(1)
    milestones: list[float] = MISSING
    gamma: float = bounded(open_low=0, high=1)


@dataclass
class Solvers:
    lbfgs: Lbfgs = field(default_factory=Lbfgs)
    sgd: OriginalLayer = field(default_factory=OriginalLayer)


@dataclass
class Probe:
    name: str = MISSING
    _target_: str = MISSING
    unread: dict[str, str] = field(default_factory=dict)
    solver: str = one_of("lbfgs", "sgd")
    solvers: Solvers = field(default_factory=Solvers)
    knn: Neighbours = field(default_factory=Neighbours)
    resamples: int = bounded(0)
    budgets: list[Any] = MISSING
    seeds: list[int] = MISSING


@dataclass
class Supervised:
    name: str = MISSING
    _target_: str = MISSING
    epochs: int = bounded(1)
    batch_size: int = bounded(2)
    select_by: str = one_of("auroc", "accuracy", "loss")
    patience: Optional[int] = bounded(1)
    class_weights: str = one_of("none", "balanced")
    layer_decay: float = bounded(open_low=0, high=1)
    projection_layers: int = one_of(0, 1)
    checkpoint_every_s: float = bounded(0)
    resamples: int = bounded(0)
    budgets: list[Any] = MISSING
    seeds: list[int] = MISSING


@dataclass
class Test:
    name: str = MISSING
    _target_: str = MISSING
    unread: dict[str, str] = field(default_factory=dict)
    run: str = MISSING
    resamples: int = bounded(0)


@dataclass
class Predict:
    name: str = MISSING
    _target_: str = MISSING
    unread: dict[str, str] = field(default_factory=dict)
    run: str = MISSING
    chunk: int = bounded(1)


@dataclass
class Study:
    name: str = MISSING
    _target_: str = MISSING
    epochs: int = bounded(1)
    supervised_epochs: int = bounded(1)
    curve: list[Any] = MISSING
    supervised: list[Any] = MISSING
    repeats: list[int] = MISSING
    timed_steps: int = bounded(0)
    always: bool = MISSING


@dataclass
class Preview:
    name: str = MISSING
    _target_: str = MISSING
    unread: dict[str, str] = field(default_factory=dict)
    always: bool = MISSING
    sequences: list[str] = MISSING
    options: dict[str, Any] = field(default_factory=dict)
    images: int = bounded(1, 40)
    views: int = bounded(1, 20)


@dataclass
class Analyse:
    name: str = MISSING
    _target_: str = MISSING
    unread: dict[str, str] = field(default_factory=dict)
    run: Optional[str] = MISSING
    points: int = bounded(10)
    perplexities: list[float] = MISSING
    components: int = bounded(2)
    queries: int = bounded(1, 40)
    neighbours: int = bounded(1, 20)
    knn: Neighbours = field(default_factory=Neighbours)
    cams: int = bounded(1, 20)


@dataclass
class Report:
    name: str = MISSING
    _target_: str = MISSING
    unread: dict[str, str] = field(default_factory=dict)
    datasets: list[str] = MISSING
    out: Optional[str] = MISSING
    mixed: bool = MISSING
    dashboard: bool = MISSING
    wandb: dict[str, Any] = field(default_factory=dict)
