"""Types and bounds of every key that a user can set. Values live in conf/, never here.

A YAML binds itself to its type with one line in its defaults list, as ``- /schema/optimizer/adamw@_here_``. A field's
bounds stand in its metadata and are checked by `validate.find_problems`.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Generic, Optional, TypeVar

from omegaconf import MISSING, DictConfig

from simclr_med.config import bounds
from simclr_med.config.bounds import bounded, one_of
from simclr_med.config.data_nodes import DataFraction, Dataset
from simclr_med.config.defaults import find_changes
from simclr_med.config.nodes import Option, Part, node
from simclr_med.config.stage_kinds import Stage

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045


@node
class Paths(Part):
    data: str = MISSING
    runs: str = MISSING
    own: list[str] = MISSING


@node
class Augmentation(Option):
    ops: list[Any] = MISSING


@node
class ResNet(Option):
    depth: int = one_of(14, 18, 34, 50)
    stem: str = one_of("stock", "small", "half")
    zero_init_residual: bool = MISSING
    mean: list[float] = MISSING
    std: list[float] = MISSING
    in_channels: int = bounded(2, 16)


@node
class TinyEncoder(Option):
    mean: list[float] = MISSING
    std: list[float] = MISSING


@node
class TinyResNet(TinyEncoder):
    in_channels: int = bounded(2, 16)


@node
class DenseNet(TinyEncoder):
    pass


@node
class ConvNeXt(TinyEncoder):
    pass


@node
class Timm(Option):
    model: str = MISSING
    input_size: Optional[int] = bounded(1, 4096)
    mean: Optional[list[float]] = MISSING
    std: Optional[list[float]] = MISSING
    in_channels: int = bounded(2, 16)


@node
class AdamW(Option):
    lr: float = bounded(open_low=0)
    weight_decay: float = bounded(0)
    decay_norm_and_bias: bool = MISSING


@node
class Adam(AdamW):
    pass


@node
class SGD(AdamW):
    momentum: float = bounded(0, 1)
    nesterov: bool = MISSING


@node
class LARS(Option):
    lr: float = bounded(open_low=0)
    weight_decay: float = bounded(0)
    momentum: float = bounded(0, 1)
    eta: float = bounded(open_low=0)
    lr_scaling: str = one_of("linear", "sqrt", "none")
    batch_size: Optional[int] = bounded(1)


@node
class WarmupCosine(Option):
    warmup_epochs: float = bounded(0)
    final_factor: float = bounded(0, 1)


@node
class Multistep(Option):
    milestones: list[float] = MISSING
    gamma: float = bounded(open_low=0, high=1)


@node
class Constant(Option):
    pass


@node
class InitRandom(Option):
    dataset: Optional[str] = MISSING
    augmentation: str = MISSING
    seed: int = bounds.seed()


@node
class InitPretrained(Option):
    runs: str = MISSING
    dataset: str = MISSING
    augmentation: str = MISSING
    encoder: str = MISSING
    size: Optional[int] = bounded(1)
    seed: int = bounds.seed()
    start: str = MISSING
    exclude: Optional[str] = None
    head_layers: Optional[int] = bounded(1, 4)
    run: Optional[str] = MISSING
    model: Optional[str] = MISSING


@node
class InitCheckpoint(Option):
    path: str = MISSING


@node
class InitModel(Option):
    run: Optional[str] = MISSING


@node
class InitSaved(Option):
    run: str = MISSING


@node
class InitImageNet(Option):
    encoder: str = MISSING
    folder: str = MISSING
    files: dict[str, str] = MISSING
    url: str = MISSING


@node
class InitTimm(Option):
    model: Optional[str] = MISSING


@node
class Trainer(Part):
    name: str = MISSING
    accelerator: str = one_of("auto", "cpu", "gpu", "cuda", "mps")
    nodes: int = bounded(1)
    devices: int = bounded(1)
    strategy: Any = MISSING
    precision: str = one_of("auto", "32-true", "64-true", "tf32", "bf16-mixed", "16-mixed")
    cuda_graphs: bool = MISSING
    threads: Optional[int] = bounded(1, 4096)
    profile: bool = MISSING
    limit_steps: Optional[int] = bounded(1)
    gradient_clip_val: Optional[float] = bounded(open_low=0)
    energy: Optional[str] = MISSING

    @property
    def processes(self) -> int:
        """Processes that train together: one for each device of each node."""
        return self.nodes * self.devices


@node
class Logger(Part):
    name: str = MISSING
    tracking_uri: Optional[str] = None
    loggers: list[Any] = MISSING


@node
class Schema(Part):
    """The whole config as OmegaConf composes it. A group may hold YAML of the user's own that has no type."""

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
    seed: int = bounds.seed()
    overwrite: bool = MISSING
    dry_run: bool = MISSING
    allow_code: bool = MISSING
    objective: Optional[str] = None
    keep: str = one_of("least", "all")


S_co = TypeVar("S_co", bound=Stage, covariant=True)


@node
class Config(Schema, Generic[S_co]):
    """A run's config as the code reads it: resolved, checked, typed and frozen.

    Attributes:
        stage: the node of the run's stage, of that stage's own type.
        plain: the same keys and values as a read-only mapping: what is written, hashed and logged.
    """

    stage: S_co = MISSING  # type: ignore[assignment]
    dataset: Dataset = MISSING  # type: ignore[assignment]
    encoder: Option = MISSING  # type: ignore[assignment]
    init: Option = MISSING  # type: ignore[assignment]
    optimizer: Option = MISSING  # type: ignore[assignment]
    schedule: Option = MISSING  # type: ignore[assignment]
    plain: DictConfig = MISSING  # type: ignore[assignment]

    @property
    def changes(self) -> dict[str, Any]:
        """The values that differ from the defaults, for the name of the run's folder."""
        return find_changes(self.plain)
