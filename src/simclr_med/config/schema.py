"""Types and bounds of every key that a user can set. Values live in conf/, never here.

A YAML binds itself to its type with one line in its defaults list, as ``- /schema/optimizer/adamw@_here_``. A field's
bounds stand in its metadata and are checked by `validate.problems`, which words them all in one way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import MISSING

from simclr_med.config.bounds import bounded, one_of
from simclr_med.config.data_nodes import DataFraction

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045


@dataclass
class Paths:
    data: str = MISSING
    runs: str = MISSING


@dataclass
class Augmentation:
    name: str = MISSING
    _target_: str = MISSING
    ops: list[Any] = MISSING


@dataclass
class ResNet:
    name: str = MISSING
    _target_: str = MISSING
    depth: int = one_of(18, 34, 50)
    stem: str = one_of("stock", "small")
    zero_init_residual: bool = MISSING
    mean: list[float] = MISSING
    std: list[float] = MISSING


@dataclass
class TinyEncoder:
    name: str = MISSING
    _target_: str = MISSING
    mean: list[float] = MISSING
    std: list[float] = MISSING


@dataclass
class AdamW:
    name: str = MISSING
    _target_: str = MISSING
    lr: float = bounded(open_low=0)
    weight_decay: float = bounded(0)
    decay_norm_and_bias: bool = MISSING


@dataclass
class Adam(AdamW):
    pass


@dataclass
class SGD(AdamW):
    momentum: float = bounded(0, 1)
    nesterov: bool = MISSING


@dataclass
class LARS:
    name: str = MISSING
    _target_: str = MISSING
    lr: float = bounded(open_low=0)
    weight_decay: float = bounded(0)
    momentum: float = bounded(0, 1)
    eta: float = bounded(open_low=0)
    lr_scaling: str = one_of("linear", "sqrt", "none")
    batch_size: int = bounded(1)


@dataclass
class WarmupCosine:
    name: str = MISSING
    _target_: str = MISSING
    warmup_epochs: float = bounded(0)
    final_factor: float = bounded(0, 1)


@dataclass
class Multistep:
    name: str = MISSING
    _target_: str = MISSING
    milestones: list[float] = MISSING
    gamma: float = bounded(open_low=0, high=1)


@dataclass
class Constant:
    name: str = MISSING
    _target_: str = MISSING


@dataclass
class InitRandom:
    name: str = MISSING
    _target_: str = MISSING
    dataset: Optional[str] = MISSING
    augmentation: str = MISSING
    seed: int = bounded(0)


@dataclass
class InitPretrained:
    name: str = MISSING
    _target_: str = MISSING
    runs: str = MISSING
    dataset: str = MISSING
    augmentation: str = MISSING
    encoder: str = MISSING
    size: Optional[int] = bounded(1)
    seed: int = bounded(0)
    start: str = MISSING
    run: Optional[str] = MISSING


@dataclass
class InitCheckpoint:
    name: str = MISSING
    _target_: str = MISSING
    path: str = MISSING


@dataclass
class InitModel:
    name: str = MISSING
    _target_: str = MISSING
    run: Optional[str] = MISSING


@dataclass
class InitImageNet:
    name: str = MISSING
    _target_: str = MISSING
    encoder: str = MISSING
    folder: str = MISSING
    files: dict[str, str] = MISSING
    url: str = MISSING


@dataclass
class Trainer:
    name: str = MISSING
    accelerator: str = one_of("auto", "cpu", "gpu", "cuda", "mps")
    devices: int = bounded(1)
    strategy: Any = MISSING
    precision: str = one_of("auto", "32-true", "64-true", "bf16-mixed", "16-mixed")
    threads: Optional[int] = bounded(1)
    limit_steps: Optional[int] = bounded(1)


@dataclass
class Logger:
    name: str = MISSING
    loggers: list[Any] = MISSING


@dataclass
class Config:
    stage: Any = MISSING
    dataset: Any = MISSING
    augmentation: Augmentation = field(default_factory=Augmentation)
    encoder: Any = MISSING
    init: Any = MISSING
    data_fraction: DataFraction = field(default_factory=DataFraction)
    optimizer: Any = MISSING
    schedule: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = field(default_factory=Logger)
    paths: Paths = field(default_factory=Paths)
    seed: int = bounded(0)
    overwrite: bool = MISSING
    dry_run: bool = MISSING
    keep: str = one_of("least", "all")
