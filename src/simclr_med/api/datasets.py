"""Data sets in Python: MedMNIST, drawn images, or your own files, as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from simclr_med import build
from simclr_med.config.folders import CONF, list_options
from simclr_med.config.options import load_option
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.types import MULTI_LABEL, Split

_OWN = ("npz", "folder")  # options that need a path


@dataclass(frozen=True)
class Data:
    """A data set. Each split is read when it is first used.

    Attributes:
        source: what the stages of ``simclr-med`` read.
    """

    source: Source

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.source.name

    @property
    def task(self) -> str | None:
        """medmnist's name of the kind of labels; None without labels."""
        return self.source.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label; empty without labels."""
        return self.source.classes

    @cached_property
    def train(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Images, uint8 [N, H, W, C], and labels, int64 [N] (multi-label: 0 or 1, [N, K]); None without labels."""
        return self._read("train")

    @cached_property
    def val(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The validation split, as `train`."""
        return self._read("val")

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The test split, as `train`."""
        return self._read("test")

    def _read(self, split: Split) -> tuple[np.ndarray, np.ndarray | None]:
        found = self.source.split(split)
        labels = found.labels
        return found.images, labels if labels is None or self.task == MULTI_LABEL else labels[:, 0]


def load_data(name_or_path: str | PathLike[str], size: int | None = None) -> Data:
    """Load a data set.

    Args:
        name_or_path: name of a set of MedMNIST (downloaded once), ``synthetic`` (drawn cells, no download), an .npz
            file in MedMNIST's layout, or a folder of images.
        size: side of the images in pixels, where there are several; None takes the default.

    Raises:
        DataError: there is no such set, file or folder.

    Examples:
        >>> import simclr_med as sm
        >>> data = sm.load_data("synthetic")
        >>> images, labels = data.train
        >>> images.shape, labels.shape
        ((2000, 28, 28, 3), (2000,))
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    sized = {} if size is None else {"size": size}
    options = list_options([CONF], "dataset")
    if name in options and name not in _OWN:
        node = load_option((), "dataset", name, **sized)
    elif path.is_dir():
        node = load_option((), "dataset", "folder", path=str(path), **sized)
    elif path.is_file():
        node = load_option((), "dataset", "npz", path=str(path), **sized)
    else:
        known = ", ".join(option for option in options if option not in _OWN)
        raise DataError(f"dataset={name}: no such file, folder or data set. Give a path, or one of {known}.")
    return Data(build.build_source(SimpleNamespace(dataset=node)))
