"""Types and bounds of the groups dataset and data_fraction."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Optional, get_args

from omegaconf import MISSING

from simclr_med.config import bounds
from simclr_med.config.bounds import bounded, one_of
from simclr_med.config.nodes import Option, Part, Untyped, node
from simclr_med.types import Task

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045


@node
class Dataset(Option):
    """What every data set states.

    Attributes:
        mirror_p: probability of flips and right-angle turns in augmentations that respect handedness.
        metadata_csv: file with further columns about the images, by which the report forms subgroups.
        exclude: CSV of the images that are left out; None keeps all.
    """

    mirror_p: float = bounded(0, 1)
    metadata_csv: Optional[str] = None
    exclude: Optional[str] = None

    @property
    def known_task(self) -> Optional[str]:
        """What the labels mean, where the config knows it; None where only the data do."""
        return None

    @property
    def may_name_patients(self) -> bool:
        """Whether something may name the patient of each image: a CSV, a column, or the files."""
        return False


class UntypedDataset(Untyped, Dataset):
    """A data set of the user's own YAML."""

    @property
    def may_name_patients(self) -> bool:
        return vars(self).get("groups_csv") is not None


@node
class MedMNIST(Dataset):
    size: int = one_of(28, 64, 128, 224)
    root: str = MISSING
    verify: bool = MISSING
    info: Any = MISSING

    @property
    def known_task(self) -> Optional[str]:
        return str(self.info["task"])


@node
class Npz(Dataset):
    path: str = MISSING
    task: Optional[str] = one_of(*get_args(Task))
    class_names: Optional[list[str]] = MISSING
    groups_csv: Optional[str] = None

    @property
    def known_task(self) -> Optional[str]:
        return self.task

    @property
    def may_name_patients(self) -> bool:
        return self.groups_csv is not None


@node
class FolderCsv(Part):
    path: Optional[str] = MISSING
    file: str = MISSING
    patient: Optional[str] = MISSING
    label: Optional[str] = MISSING
    split: Optional[str] = MISSING


@node
class Folder(Dataset):
    path: str = MISSING
    size: int = bounded(8, 1024)
    channels: int = one_of(1, 3)
    class_folders: Optional[bool] = MISSING
    split_seed: int = bounds.seed()
    val_fraction: float = bounded(0, 0.9)
    test_fraction: float = bounded(0, 0.9)
    groups_csv: Optional[str] = MISSING
    csv: FolderCsv = field(default_factory=FolderCsv)
    intensity: str = one_of("full", "dataset", "window", "per_image")
    window: Optional[list[float]] = MISSING
    frames: str = one_of("one", "each")
    broken: str = one_of("refuse", "skip")

    @property
    def may_name_patients(self) -> bool:
        return True  # DICOM files have a PatientID


@node
class Parquet(Dataset):
    path: str = MISSING
    size: int = bounded(8, 1024)
    channels: int = one_of(1, 3)
    image: str = MISSING
    label: Optional[str] = MISSING
    patient: Optional[str] = MISSING
    split: Optional[str] = MISSING
    split_seed: int = bounds.seed()
    val_fraction: float = bounded(0, 0.9)
    test_fraction: float = bounded(0, 0.9)

    @property
    def may_name_patients(self) -> bool:
        return self.patient is not None


@node
class Synthetic(Dataset):
    size: int = bounded(16, 224)
    seed: int = bounds.seed()
    train: int = bounded(8, 1_000_000)
    val: int = bounded(8, 1_000_000)
    test: int = bounded(8, 1_000_000)


@node
class DataFraction(Part):
    name: str = MISSING
    samples: Optional[int] = bounded(2)
    percent: Optional[float] = bounded(high=100, open_low=0)
    per_class: Optional[int] = bounded(1)
    strategy: str = one_of("random", "stratified")
    strict: bool = MISSING
    imbalance_factor: Optional[float] = bounded(1)
    seed: int = bounds.seed()
    file: Optional[str] = MISSING
    selected_by: Optional[str] = MISSING
    selection_hash: Optional[str] = MISSING
    validation: str = one_of("within", "split")
