"""Data sets other than the run's own, and the conversion of their images to the shape of the run's images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional

from simclr_med import build
from simclr_med.config.folders import CONF, list_options
from simclr_med.config.options import load_option
from simclr_med.config.schema import Config
from simclr_med.config.stage_kinds import Stage
from simclr_med.config.targets import is_listed
from simclr_med.data.arrow_files import ENDINGS
from simclr_med.data.source import ImageSet, Source
from simclr_med.errors import ConfigError, DataError

_NEED_PATH = ("npz", "folder", "parquet")  # options of the group dataset
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as in PIL
_SIDES = (28, 64, 128, 224)  # of MedMNIST's files
_CHUNK = 1024  # images that are resized at once; affects memory only


def open_other(name: str, cfg: Config[Stage], size: int) -> Source:
    """Return a data set: an option of the group dataset, an .npz file, a folder of images, or Parquet files.

    Args:
        name: of the option, or path.
        cfg: of the run; its paths.data holds MedMNIST's files.
        size: shorter side of the run's images. MedMNIST's smallest file of at least this size is taken.

    Raises:
        DataError: there is no such data set.
        ConfigError: its option calls code of the user's own, without ``allow_code``.
    """
    folders = tuple(Path(folder) for folder in cfg.paths.own)
    options = [option for option in list_options([CONF, *folders], "dataset") if option not in _NEED_PATH]
    path = Path(name).expanduser()
    if name in options:
        node = load_option(folders, "dataset", name)
        if {"root", "size", "verify"} <= set(node):
            side = next((side for side in _SIDES if side >= size), _SIDES[-1])
            node = load_option(folders, "dataset", name, root=str(cfg.paths.data), size=side)
        if not cfg.allow_code and not is_listed("dataset", node.get("_target_")):
            raise ConfigError(
                f"stage.ood={name}: its _target_={node.get('_target_')} is not a target of the group dataset. Add "
                "allow_code=true to run code of your own."
            )
    elif path.exists() and _is_parquet(path):
        node = load_option((), "dataset", "parquet", path=str(path), size=size, label=None)
    elif path.is_dir():
        node = load_option((), "dataset", "folder", path=str(path), size=size)
    elif path.is_file():
        node = load_option((), "dataset", "npz", path=str(path))
    else:
        raise DataError(
            f"stage.ood={name}: no such data set, file or folder. Give a path, or one of {', '.join(options)}."
        )
    source: Source = build.build_source(SimpleNamespace(dataset=node))
    return source


def read_foreign_images(source: Source) -> ImageSet:
    """Read the test split, or the last one that has images.

    Raises:
        DataError: the data are missing or damaged, or there are no images.
    """
    splits = source.available_splits()
    if not splits:
        raise DataError(f"stage.ood={source.name}: no images found. Remove it from stage.ood.")
    return source.split("test" if "test" in splits else splits[-1])


def match_shape(images_NHWC: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """Return images with this shape, uint8 [N, height, width, channels].

    They are resized bilinearly with antialiasing; colours become the luma of PIL, and a grey channel is repeated.

    Raises:
        DataError: neither kind of image is grey, and their numbers of channels differ.
    """
    found = images_NHWC.shape[3]
    if found != channels and not {found, channels} <= {1, 3}:
        raise DataError(
            f"stage.ood: images of {found} channels cannot be compared with images of {channels}. Remove this data set "
            "from stage.ood."
        )
    if images_NHWC.shape[1:] == (height, width, channels):
        return images_NHWC
    parts = [
        _match(images_NHWC[start : start + _CHUNK], height, width, channels)
        for start in range(0, len(images_NHWC), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.empty((0, height, width, channels), np.uint8)


def _is_parquet(path: Path) -> bool:
    """Return whether a path is a Parquet or Arrow file, or a folder that holds one at any depth."""
    return any(file.suffix in ENDINGS for file in (path.rglob("*") if path.is_dir() else (path,)))


def _match(images_BHWC: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    images_BCHW = torch.from_numpy(np.array(images_BHWC)).permute(0, 3, 1, 2).float()
    if images_BCHW.shape[1] == 3 and channels == 1:
        images_BCHW = (images_BCHW * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if images_BCHW.shape[2:] != (height, width):
        images_BCHW = functional.interpolate(images_BCHW, (height, width), mode="bilinear", antialias=True)
    levels = images_BCHW.expand(-1, channels, -1, -1).round().clamp(0, 255).byte()
    return np.asarray(levels.permute(0, 2, 3, 1).numpy())
