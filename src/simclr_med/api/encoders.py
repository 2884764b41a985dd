"""Encoders in Python: load one, and compute the features of images with it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from simclr_med.api.images import Images, as_uint8, transform
from simclr_med.augment.sequence import to_float
from simclr_med.config.options import load_option, recorded_values
from simclr_med.evaluation import features
from simclr_med.models.encoder_files import LoadedEncoder, load_encoder_state, load_weights
from simclr_med.models.encoders import is_encoder
from simclr_med.stages.network import build_network
from simclr_med.stages.saved_model import load_saved_encoder
from simclr_med.training.devices import resolve_device


def load_encoder(run_or_file: str | PathLike[str], encoder: str | None = None, device: str | None = None) -> nn.Module:
    """Load the encoder of a finished run, or of a file.

    Args:
        run_or_file: folder of a run (of a probe, the encoder that it used), or a file: ``encoder.safetensors``, a
            checkpoint of this project or of the thesis, a state dict of torchvision.
        encoder: option of ``conf/encoder``, for a file that does not record its network.
        device: of the encoder, such as ``"cpu"`` or ``"cuda"``; None takes a GPU where there is one.

    Returns:
        the encoder in eval mode: float32 images [N, 3, H, W] in [0, 1] to features [N, D]. It has ``width`` (D) and
        ``transform``, which makes such images of NumPy arrays, PIL images and tensors.

    Raises:
        UserError: the run is not finished, or the file is missing, damaged or of another network; one line.

    Examples:
        >>> import simclr_med as sm
        >>> encoder = sm.load_encoder(run)
        >>> encoder.width
        64
        >>> images = sm.load_data("synthetic").test[0]
        >>> encoder(encoder.transform(images[:5])).shape
        torch.Size([5, 64])
    """
    path = Path(run_or_file).expanduser()
    module: Any = load_saved_encoder(path) if path.is_dir() else _load_file(path, encoder)
    module.transform = transform
    ready: nn.Module = module.to(choose_device(device)).eval().requires_grad_(False)
    return ready


def extract_features(encoder: nn.Module | str | PathLike[str], images: Images, batch_size: int = 256) -> np.ndarray:
    """Compute the features of images, without augmentation.

    Args:
        encoder: as `load_encoder` returns it, or what that loads; it computes on its own device.
        images: several images of one size: a NumPy array [N, H, W] or [N, H, W, C], a tensor [N, C, H, W], or a list of
            PIL images, arrays or tensors. uint8 in [0, 255], or floats in [0, 1].
        batch_size: images of one forward pass; affects memory alone.

    Returns:
        features, float32 [N, D].

    Raises:
        ValueError: images of another shape, type or range.

    Examples:
        >>> import simclr_med as sm
        >>> images, labels = sm.load_data("synthetic").test
        >>> sm.extract_features(run, images[:10]).shape
        (10, 64)
    """
    network = as_encoder(encoder)
    device = next(network.parameters()).device
    found = features.extract_features(network, as_uint8(images), to_float, device, batch_size)
    return np.asarray(found.cpu().numpy(), dtype=np.float32)


class Features(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The features of an encoder as a transformer of scikit-learn.

    Args:
        encoder: as `load_encoder` returns it, or the path of what it loads. `fit` leaves it unchanged.
        batch_size: images of one forward pass; affects memory alone.

    Attributes:
        encoder_: the encoder, after `fit`.

    Examples:
        >>> import simclr_med as sm
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> data = sm.load_data("synthetic")
        >>> images, labels = data.train
        >>> model = make_pipeline(sm.Features(run), StandardScaler(), LogisticRegression(max_iter=1000))
        >>> model.fit(images[:100], labels[:100]).predict(images[:3]).shape
        (3,)
    """

    def __init__(self, encoder: nn.Module | str | PathLike[str], batch_size: int = 256) -> None:
        self.encoder = encoder
        self.batch_size = batch_size

    def fit(self, X: Images, y: Any = None) -> Features:
        """Load the encoder where it is a path, and check the images; nothing is learned.

        Args:
            X: images, as in `extract_features`.
            y: ignored.
        """
        as_uint8(X[:1])
        self.encoder_ = as_encoder(self.encoder)
        return self

    def transform(self, X: Images) -> np.ndarray:
        """Return the features of images, float32 [N, D]."""
        check_is_fitted(self, "encoder_")
        return extract_features(self.encoder_, X, self.batch_size)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return a name for each feature."""
        check_is_fitted(self, "encoder_")
        return np.asarray([f"feature{number}" for number in range(self.encoder_.width)], dtype=object)


def as_encoder(encoder: Any) -> Any:
    """Return an encoder, loaded where it is a path.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(encoder, (str, PathLike)):
        return load_encoder(encoder)
    if not is_encoder(encoder):
        raise TypeError(f"encoder={type(encoder).__name__}: expected what load_encoder returns, or the path of a run.")
    return encoder


def _load_file(path: Path, name: str | None) -> Any:
    loaded = load_encoder_state(path)
    recorded = loaded.option or {}
    name = name or str(recorded.get("name") or _guess_option(loaded))
    option: Any = OmegaConf.to_container(load_option((), "encoder", name))
    same = {} if recorded.get("name") != name else recorded_values(option, recorded)
    encoder = build_network(option, 0, same)
    load_weights(encoder, loaded)
    return encoder


def _guess_option(loaded: LoadedEncoder) -> str:
    """Return the option whose network a file without a record of it seems to hold, by its keys."""
    network = loaded.network.partition(" ")[0]
    return f"{network}_small_stem" if "small stem" in loaded.network else network


def choose_device(name: str | None) -> torch.device:
    """Return the device of this name; None takes a GPU where there is one."""
    return resolve_device("auto") if name is None else torch.device(name)
