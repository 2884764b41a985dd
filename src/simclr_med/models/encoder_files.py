"""An encoder's weights in files.

A file that this project wrote is recognised by its metadata, a file of torchvision or of the thesis by its keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from simclr_med.errors import CheckpointError
from simclr_med.models.checkpoints import broken_values, damaged_message, load_checkpoint, unusable_tensor
from simclr_med.models.encoder_hashes import MOMENTS, combine_hashes, encoder_hash, encoder_metadata, weights_hash
from simclr_med.models.encoders import Encoder, get_option
from simclr_med.models.networks import (
    ForeignEncoder,
    describe_network,
    describe_unknown,
    recognize_thesis,
    recognize_torchvision,
    select_prefix,
)
from simclr_med.models.normalization import HALF, Moments, check_moments
from simclr_med.models.safetensors_files import is_safetensors, read_safetensors, write_safetensors

# Arguments of an option that change its function but not the shapes of its weights: strides, for example.
_HIDDEN_ARGUMENTS = ("stem",)


# Reads the state dict of another library: see `load_encoder_state`.
Recognize = Callable[[Mapping[str, Tensor]], ForeignEncoder | None]


@dataclass(frozen=True)
class LoadedEncoder:
    """The content of a file with an encoder.

    Attributes:
        state: the encoder's tensors, under the keys of its library.
        head: the tensors of the projection head or classifier beside it, under the keys of an ``nn.Sequential`` or
            ``nn.Linear``; empty where the file holds none.
        kind: what made the file, in words.
        mean, std: of the channels that the encoder was trained with; None where the file does not record them.
        metadata: the file's provenance.
        path: of the file.
    """

    state: dict[str, Tensor]
    head: dict[str, Tensor]
    kind: str
    mean: Moments | None
    std: Moments | None
    metadata: dict[str, str]
    path: Path

    @property
    def option(self) -> dict[str, Any] | None:
        """The option of ``conf/encoder`` that the encoder was built from, with its scalar arguments.

        None where the file does not record one. It describes the file; a network is always built from a run's own
        config.
        """
        try:
            option = json.loads(self.metadata.get("encoder", "null"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(damaged_message(self.path)) from error
        return option if isinstance(option, dict) else None

    @property
    def network(self) -> str:
        """The network in words."""
        return _describe(self.option, self.state)

    @property
    def description(self) -> str:
        """One line for the log: the network, the kind of file and its path."""
        return f"{self.network} from {self.kind} {self.path}"


def save_encoder(path: Path, encoder: Encoder, metadata: Mapping[str, str]) -> None:
    """Write an encoder as safetensors, atomically, under its library's keys; the folder must exist.

    The file's metadata holds ``metadata`` and, over it, ``encoder_metadata``, the ``network`` in words,
    ``weights_hash`` and ``encoder_hash``.
    """
    state, own = encoder.state_dict(), encoder_metadata(encoder)
    own |= {"network": _describe(get_option(encoder), state), "weights_hash": weights_hash(state)}
    write_safetensors(path, state, {**metadata, **own, "encoder_hash": encoder_hash(encoder)})


def load_encoder_state(path: Path, recognize: Recognize | None = None) -> LoadedEncoder:
    """Read an encoder from a file; the kind of file is recognised by its content.

    The kinds: safetensors of `save_encoder`; a training checkpoint of this project; a checkpoint of the thesis; a
    torchvision state dict, with or without the classifier, in torch's format or in safetensors, which is read as one
    that expects ImageNet's mean and standard deviation; what ``recognize`` knows, if it is given.

    Args:
        path: of the file.
        recognize: the encoder's own reader of foreign state dicts (`timm_encoder.TimmEncoder.recognize_state`). It
            raises ValueError for one of another network.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe to read, or holds no encoder.
    """
    try:
        safe = is_safetensors(path)
    except OSError as error:
        raise CheckpointError(f"checkpoint={path}: {error.strerror or error}. Name a readable file.") from error
    return _load_safetensors(path, recognize) if safe else _load_pickled(path, recognize)


def load_weights(encoder: Encoder, loaded: LoadedEncoder) -> str:
    """Load every weight into an encoder, in place, and mean and std where recorded; return a line about the file.

    Raises:
        CheckpointError: the file is of another network, or holds weights that are not finite; the encoder is then
            unchanged.
    """
    expected = encoder.state_dict()
    # Files older than torch 0.4.1 have no such counters; torch fills them in.
    given = {name for name in expected if name in loaded.state or name.endswith("num_batches_tracked")}
    fits = given == set(expected) and set(loaded.state) <= set(expected) and _has_same_layout(encoder, loaded)
    if not fits or any(loaded.state[name].shape != expected[name].shape for name in loaded.state):
        network = _describe(get_option(encoder), expected)
        raise CheckpointError(
            f"checkpoint={loaded.path}: expected weights of {network}, found those of {loaded.network}. "
            f"{_suggest_option(loaded)}"
        )
    for name, tensor in loaded.state.items():
        if expected_values := broken_values(name, tensor):
            raise CheckpointError(
                f"checkpoint={loaded.path}: expected {expected_values}; {name} holds others. Use an earlier checkpoint."
            )
    moments = [
        (buffer, values) for buffer, values in ((encoder.mean, loaded.mean), (encoder.std, loaded.std)) if values
    ]
    if wrong := [len(values) for buffer, values in moments if len(values) != buffer.numel()]:
        raise CheckpointError(
            f"checkpoint={loaded.path}: expected mean and std of {encoder.mean.numel()} channels, found {wrong[0]}. "
            "Use another file."
        )
    encoder.load_state_dict(loaded.state, strict=True)
    for buffer, values in moments:
        buffer.copy_(torch.tensor(values).view_as(buffer))
    return loaded.description


def _load_safetensors(path: Path, recognize: Recognize | None) -> LoadedEncoder:
    try:
        state, metadata = read_safetensors(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(damaged_message(path)) from error
    if not {"weights_hash", "encoder_hash", *MOMENTS} & set(metadata):  # not written by `save_encoder`
        return _load_foreign(path, state, recognize)
    if "encoder" not in metadata:  # written by the first release, or by hand beside a classifier
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    weights = weights_hash(state)
    found = {"weights_hash": weights, "encoder_hash": combine_hashes(weights, metadata)}
    if any(metadata.get(key, digest) != digest for key, digest in found.items()):
        raise CheckpointError(damaged_message(path))
    return LoadedEncoder(state, {}, "the encoder", *_read_moments(metadata, path), metadata, path)


def _load_pickled(path: Path, recognize: Recognize | None) -> LoadedEncoder:
    checkpoint = load_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        content = ", ".join(map(str, list(state)[:3])) if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"checkpoint={path}: expected a state dict of tensors, found {content}. Save the encoder's state_dict()."
        )
    state = {str(name): tensor for name, tensor in state.items()}
    for name, tensor in state.items():
        if problem := unusable_tensor(tensor):
            raise CheckpointError(
                f"checkpoint={path}: expected dense tensors in memory; {name} {problem}. Save the encoder's "
                "state_dict() on the CPU."
            )
    # The first release's checkpoints can lack the metadata; their encoders are ResNets.
    if "encoder_metadata" in checkpoint or "encoder.conv1.weight" in state:
        metadata = checkpoint.get("encoder_metadata", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise CheckpointError(damaged_message(path))
        moments = _read_moments(metadata, path)
        head = select_prefix(state, "head.")
        return LoadedEncoder(select_prefix(state, "encoder."), head, "the checkpoint", *moments, metadata, path)
    return _load_foreign(path, state, recognize)


def _load_foreign(path: Path, state: dict[str, Any], recognize: Recognize | None) -> LoadedEncoder:
    named = {str(name): tensor for name, tensor in state.items()}
    found = recognize_thesis(path, named)
    if found is None and recognize is not None:
        try:
            found = recognize(named)
        except ValueError as error:
            raise CheckpointError(
                f"checkpoint={path}: the weights do not fit this encoder ({_shorten(str(error))}). Choose the encoder "
                "that the file was trained with."
            ) from error
    found = found or recognize_torchvision(named)
    if found is None:
        raise CheckpointError(describe_unknown(path, named))
    metadata = {} if found.option is None else {"encoder": json.dumps(found.option)}
    return LoadedEncoder(found.state, found.head, found.kind, found.mean, found.std, metadata, path)


def _shorten(text: str) -> str:
    """Return at most 200 characters of a text."""
    return text if len(text) <= 200 else f"{text[:200]}..."


def _read_moments(metadata: Mapping[str, str], path: Path) -> tuple[Moments | None, Moments | None]:
    try:
        mean, std = (tuple(map(float, json.loads(metadata[key]))) if key in metadata else None for key in MOMENTS)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(damaged_message(path)) from error
    try:
        check_moments(HALF if mean is None else mean, HALF if std is None else std)
    except ValueError as error:
        raise CheckpointError(f"checkpoint={path}: {error} Use another file.") from error
    return mean, std


def _has_same_layout(encoder: Encoder, loaded: LoadedEncoder) -> bool:
    """Whether the recorded options, if both are recorded, agree in what the shapes of the weights do not show."""
    wanted, found = get_option(encoder) or {}, loaded.option or {}
    return all(wanted[key] == found[key] for key in _HIDDEN_ARGUMENTS if key in wanted and key in found)


def _describe(option: Mapping[str, Any] | None, state: Mapping[str, Tensor]) -> str:
    """Return the option's name with its scalar arguments, or what the keys of the state dict say."""
    if option is None:
        return describe_network(state)
    arguments = ", ".join(f"{key}={value}" for key, value in option.items() if key != "name")
    return f"{option.get('name')} ({arguments})" if arguments else str(option.get("name"))


def _suggest_option(loaded: LoadedEncoder) -> str:
    if loaded.option is None:
        return "Choose the encoder that the file was trained with."
    return f"Use encoder={loaded.option.get('name')}, with the same arguments."
