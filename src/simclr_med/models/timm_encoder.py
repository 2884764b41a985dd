"""Any backbone of timm (PyTorch Image Models) as an encoder. timm is imported only when one is built."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from simclr_med.errors import ConfigError
from simclr_med.models.networks import ForeignEncoder, State
from simclr_med.models.normalization import HALF, RGB, normalize, register_normalization, spread_moments
from simclr_med.models.timm_maps import expose_map, list_maps

# Tensors of foreign files that only their pretraining used (DINOv2's and DINOv3's masked image modelling).
_PRETRAINING_ONLY = ("mask_token",)


class TimmEncoder(nn.Module):
    """A timm backbone without its classifier: an `Encoder`.

    It holds the parameters, buffers and children of the timm model as its own, so that its state dict has timm's keys.
    Dropout and stochastic depth are off: they would draw from torch's global generator, so that a resumed run would
    end differently.

    Attributes:
        width: D, the number of features.
        mean, std: float [1, C, 1, 1].
        size: pixels of a side that images are resized to; None: images are taken as they are.
        note: what happens to the images' size, in words; None if nothing does.
    """

    mean: Tensor
    std: Tensor
    network: Any

    def __init__(self, name: str, network: nn.Module, size: int | None) -> None:
        super().__init__()
        own = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
        # The dictionaries themselves, so that whatever replaces a module or moves a tensor here does so there too.
        self.__dict__.update({key: network.__dict__[key] for key in own}, network=network)
        cfg: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
        register_normalization(self, cfg["mean"], cfg["std"])
        self.model = name
        self.size = size
        self.note = None if size is None else f"{name}: images are resized to {size}x{size} pixels (bilinear)"
        self.width = int(getattr(network, "head_hidden_size", None) or network.num_features)  # type: ignore[arg-type]
        _switch_off_dropout(network)
        expose_map(network)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of images.

        Args:
            images_BCHW: float [B, C, H, W] in [0, 1], of the weights' dtype. They are resized to `size` with
                antialiasing. A single channel is repeated.

        Returns:
            float [B, D], pooled as the timm model does.

        Raises:
            ConfigError: the network does not take images of this size.
        """
        if self.size is not None and images_BCHW.shape[-2:] != (self.size, self.size):
            images_BCHW = F.interpolate(images_BCHW, (self.size, self.size), mode="bilinear", antialias=True)
        images_BCHW = normalize(self, images_BCHW)
        try:
            features: Tensor = self.network(images_BCHW)
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError) as error:
            height, width = images_BCHW.shape[-2:]
            if self.size is None and min(height, width) >= _own_size(self.network):
                raise
            raise _size_error(self.model, self.size, f"{height}x{width} pixels do not fit", self.network) from error
        return features

    def train(self, mode: bool = True) -> TimmEncoder:
        """Set the mode of the timm model too."""
        self.network.training = mode
        super().train(mode)
        return self

    def layer_groups(self) -> list[list[str]]:
        """Return the groups of timm's layer decay; of a model without them, the parameters of each child."""
        from timm.models import group_parameters

        if not hasattr(self.network, "group_matcher"):
            children: dict[str, list[str]] = {}
            for name, _ in self.named_parameters():
                children.setdefault(name.partition(".")[0], []).append(name)
            return list(children.values())
        groups = group_parameters(self.network, self.network.group_matcher(coarse=False))
        return [list(names) for _, names in sorted(groups.items())]

    def feature_map(self) -> list[str]:
        """Return the stages with maps, the last first; of a transformer, the input of its last block."""
        return list_maps(self.network)

    def recognize_state(self, state: State) -> ForeignEncoder:
        """Return the weights of a state dict of this model, as timm converts and resizes them.

        timm knows the layouts of other libraries, such as DINOv2 and DINOv3, and interpolates position embeddings to
        the size of the images. Its loading is strict.

        Raises:
            ValueError: the state dict is of another network.
        """
        classifier = self.network.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr, operator]
        names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        head = {key: value for key, value in state.items() if key.rpartition(".")[0] in names}
        rest = {key: value for key, value in state.items() if key not in head}
        overlay = {"state_dict": rest, "classifier": None}
        try:
            with torch.random.fork_rng(devices=[]):
                loaded = create_network(self.model, self.size, pretrained=True, pretrained_cfg_overlay=overlay)
        except (RuntimeError, ValueError, KeyError, AttributeError, AssertionError, ConfigError) as error:
            raise ValueError(" ".join(str(error).split())) from error
        left_out = [*head, *(key for key in state if key in _PRETRAINING_ONLY)]
        kind = "the timm state dict" + (f" (without {', '.join(left_out)})" if left_out else "")
        return ForeignEncoder(kind, loaded.state_dict(), {}, None, None, {"name": "timm", "model": self.model})


def timm_backbone(
    model: str,
    input_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    in_channels: int = RGB,
) -> TimmEncoder:
    """Return a timm model as an encoder, initialised from torch's global generator.

    Args:
        model: a name of ``timm.list_models()``, with the tag of pretrained weights or without (``resnet50.a1_in1k``).
        input_size: pixels of a side that images are resized to. None: images as they are, or for models with a fixed
            size, as most vision transformers, that size.
        mean, std: of each channel of images in [0, 1]; None: those of the model's pretrained weights, or 0.5 for
            images with another number of channels than these expect.
        in_channels: of the images.

    Raises:
        ConfigError: timm is not installed, or has no such model or none for this size.
        ValueError: means and deviations that are not one number for each channel.
    """
    if importlib.util.find_spec("timm") is None:
        raise ConfigError("encoder=timm: timm is not installed. Run pip install 'simclr-med[timm]'.")
    network = create_network(model, input_size, **({} if in_channels == RGB else {"in_chans": in_channels}))
    cfg: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    size = input_size or (_own_size(network) if cfg.get("fixed_input_size") else None)
    encoder = TimmEncoder(model, network, size)
    if mean is not None or std is not None or in_channels != RGB:
        own = (cfg["mean"], cfg["std"]) if in_channels == RGB else (HALF, HALF)
        values = (mean or own[0], std or own[1])
        register_normalization(encoder, *(spread_moments(value, in_channels) for value in values))
    return encoder


def create_network(model: str, size: int | None, **arguments: Any) -> nn.Module:
    """Return a timm model without its classifier; arguments are those of ``timm.create_model``.

    Raises:
        ConfigError: timm has no such model, or none for this size.
    """
    import timm

    _check_name(model, timm.list_models(), timm.list_pretrained())
    is_fixed = timm.models.get_pretrained_cfg_value(model, "fixed_input_size")
    sized: dict[str, Any] = {"img_size": size} if is_fixed and size is not None else {}
    try:
        created: nn.Module = timm.create_model(model, **{"num_classes": 0, **sized, **arguments})
    except (AssertionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"encoder.model={model} encoder.input_size={size}: timm cannot build it ({reason}). Leave "
            "encoder.input_size out, or use another model."
        ) from error
    return created


def has_batch_norm(model: str) -> bool:
    """Return whether a timm model has batch normalisation, without allocating its weights.

    Raises:
        ConfigError: timm has no such model.
    """
    with torch.device("meta"):
        network = create_network(model, None)
    return any(isinstance(layer, _BatchNorm) for layer in network.modules())


def _check_name(model: str, names: Sequence[str], tagged: Sequence[str]) -> None:
    """Check a model's name, with a tag or without."""
    name = model.partition(".")[0]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
        advice = f"Did you mean {' or '.join(near)}?" if near else "List the names with timm.list_models()."
        raise ConfigError(f"encoder.model={model}: timm has no such model. {advice}")
    if model != name and model not in tagged:
        tags = [entry for entry in tagged if entry.partition(".")[0] == name]
        advice = f"Use {', '.join(tags[:5])}." if tags else f"Use encoder.model={name}."
        raise ConfigError(f"encoder.model={model}: timm has no weights of this name. {advice}")


def _own_size(network: nn.Module) -> int:
    """Return the pixels of a side that a model was made for."""
    return int(network.pretrained_cfg["input_size"][-1])  # type: ignore[index]


def _size_error(model: str, size: int | None, problem: str, network: nn.Module) -> ConfigError:
    return ConfigError(
        f"encoder.input_size={'null' if size is None else size}: images of {problem} {model}. Set encoder.input_size="
        f"{_own_size(network)}, its own size, or another multiple of its patches."
    )


def _switch_off_dropout(network: nn.Module) -> None:
    """Set the rates of dropout and stochastic depth to 0, in place."""
    for module in network.modules():
        rates = ["drop_rate", "drop_prob"] + (["p"] if isinstance(module, nn.modules.dropout._DropoutNd) else [])
        for name in rates:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
