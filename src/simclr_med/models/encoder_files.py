"""An encoder's weights in files: ours, the original system's and torchvision's, told apart by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from simclr_med.atomic import write_bytes
from simclr_med.errors import CheckpointError
from simclr_med.models.checkpoints import damaged_message, load_checkpoint
from simclr_med.models.encoders import ResNetEncoder

# torchvision's own weights expect these (torchvision.transforms._presets.ImageClassification).
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# The original system normalises every data set by these.
_HALF = (0.5, 0.5, 0.5)
_MOMENTS = ("mean", "std")

_DEPTHS: dict[tuple[str, tuple[int, ...]], str] = {
    ("conv2", (2, 2, 2, 2)): "resnet18",
    ("conv2", (3, 4, 6, 3)): "resnet34",
    ("conv3", (3, 4, 6, 3)): "resnet50",
    ("conv3", (3, 4, 23, 3)): "resnet101",
    ("conv3", (3, 8, 36, 3)): "resnet152",
}

Moments = tuple[tuple[float, ...] | None, tuple[float, ...] | None]


@dataclass(frozen=True)
class LoadedEncoder:
    """What a file says of an encoder.

    Attributes:
        state: torchvision's key names, without ``fc``.
        head: of the projection head or classifier beside it, under the names that an ``nn.Sequential`` or
            ``nn.Linear`` gives; empty where the file holds none.
        kind: what made the file, in words.
        mean, std: of the channels it was trained with; None where the file does not say.
        metadata: the file's provenance.
        path: of the file.
    """

    state: dict[str, Tensor]
    head: dict[str, Tensor]
    kind: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    metadata: dict[str, str]
    path: Path

    @property
    def description(self) -> str:
        """One line for the log: the network, the kind of file and its name."""
        return f"{describe_network(self.state)} from {self.kind} {self.path}"


def save_encoder(path: Path, encoder: ResNetEncoder, metadata: Mapping[str, str]) -> None:
    """Writes safetensors with torchvision's key names, whole or not at all; the folder must exist.

    The file's metadata holds ``metadata`` and, over it, ``mean`` and ``std`` as JSON lists, ``network`` in words and
    ``weights_hash``.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    own = {"network": describe_network(state), "weights_hash": weights_hash(state), **encoder_metadata(encoder)}
    content = sort_header(safetensors.torch.save(state, {**metadata, **own}))
    write_bytes(path, content)


def sort_header(content: bytes) -> bytes:
    """The same safetensors file with its header's keys in order: the library's order of metadata is random."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the format wants the tensors aligned to 8 bytes
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def encoder_metadata(encoder: ResNetEncoder) -> dict[str, str]:
    """``mean`` and ``std`` as JSON lists: what the state dict leaves out, for a checkpoint's ``encoder_metadata``."""
    return {name: json.dumps([round(x, 7) for x in getattr(encoder, name).flatten().tolist()]) for name in _MOMENTS}


def load_encoder_state(path: Path) -> LoadedEncoder:
    """Reads an encoder from any file that this project knows, telling its kind from its content.

    The kinds: ``save_encoder``'s safetensors; a training checkpoint of this project (``encoder.*``, ``head.*``; its
    ``encoder_metadata`` if there is one); the original system's checkpoints; a torchvision state dict, with or without
    ``fc``, by torch or in safetensors, which is taken to expect ImageNet's mean and deviation.

    Raises:
        CheckpointError: missing, damaged, unsafe to read, or without an encoder.
    """
    if _is_safetensors(path):
        return _load_safetensors(path)
    checkpoint = load_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        held = ", ".join(map(str, list(state)[:3])) if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"checkpoint={path}: must hold a state dict of tensors; it holds {held}. Save the encoder's state_dict()."
        )
    if _is_probe(state):
        raise CheckpointError(
            f"checkpoint={path}: must hold an encoder; this is the original system's probe, a linear layer alone. "
            "Name the pretraining checkpoint that it was trained on."
        )
    if _is_pretraining(state):
        return _split(path, state, "convnet.", "the original system's pretraining", (_HALF, _HALF))
    if _is_classifier(state):
        return _split(path, state, "backbone.", "the original system's classifier", (_HALF, _HALF))
    if "encoder.conv1.weight" in state:
        metadata = dict(checkpoint.get("encoder_metadata", {}))
        moments = _moments(metadata, path)
        head = _under(state, "head.")
        return LoadedEncoder(_under(state, "encoder."), head, "the checkpoint", *moments, metadata, path)
    if "conv1.weight" in state:
        return _torchvisions(path, state)
    raise CheckpointError(_no_encoder(path, state))


def load_weights(encoder: ResNetEncoder, loaded: LoadedEncoder) -> str:
    """Loads every weight, and the mean and deviation where the file says them, into an encoder in place.

    Returns:
        one line that says what was loaded.

    Raises:
        CheckpointError: the file is of another network; the encoder is then unchanged.
    """
    wanted = encoder.state_dict()
    # Files older than torch 0.4.1 have no such counters; torch fills them in.
    given = {name for name in wanted if name in loaded.state or name.endswith("num_batches_tracked")}
    fits = given == set(wanted) and set(loaded.state) <= set(wanted)
    if not fits or any(loaded.state[name].shape != wanted[name].shape for name in loaded.state):
        raise CheckpointError(
            f"checkpoint={loaded.path}: must fit the encoder, {describe_network(wanted)}; it seems to be "
            f"{describe_network(loaded.state)}. Choose the encoder that it was trained with."
        )
    unfit = next((name for name, tensor in loaded.state.items() if not _usable(name, tensor)), None)
    if unfit is not None:
        raise CheckpointError(
            f"checkpoint={loaded.path}: must hold finite floating-point weights; {unfit} does not. Take an earlier one."
        )
    encoder.load_state_dict(loaded.state, strict=True)
    for buffer, values in ((encoder.mean, loaded.mean), (encoder.std, loaded.std)):
        if values is not None:
            buffer.copy_(torch.tensor(values).view_as(buffer))
    return loaded.description


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, sorted by name: the same for the same weights in any file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _usable(name: str, tensor: Tensor) -> bool:
    return name.endswith("num_batches_tracked") or (tensor.is_floating_point() and bool(tensor.isfinite().all()))


def _no_encoder(path: Path, state: Mapping[str, Tensor]) -> str:
    for name in sorted(map(str, state), key=len):
        prefix = name.removesuffix("conv1.weight")
        if prefix and prefix != name and f"{prefix}layer1.0.conv1.weight" in state:
            prefix = "module." if prefix.startswith("module.") else prefix  # DataParallel's; what is left may be known
            return (
                f"checkpoint={path}: must name the weights as a known kind of file does, not {name}. Save the state "
                f'dict as {{name.removeprefix("{prefix}"): tensor for name, tensor in state.items() if '
                f'name.startswith("{prefix}")}}.'
            )
    first = ", ".join(sorted(map(str, state))[:3]) or "empty"
    return f"checkpoint={path}: must hold an encoder, not {first}. Name a file with a ResNet's weights."


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of length, then JSON; a pickle or zip file never has a brace there."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"checkpoint={path}: must be a readable file. {error.strerror or error}.") from error
    return start[8:] == b"{"


def _load_safetensors(path: Path) -> LoadedEncoder:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(damaged_message(path)) from error
    if "conv1.weight" not in state:
        raise CheckpointError(_no_encoder(path, state))
    if not {"weights_hash", *_MOMENTS} & set(metadata):  # not written by `save_encoder`
        return _torchvisions(path, state)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    if "weights_hash" in metadata and metadata["weights_hash"] != weights_hash(state):
        raise CheckpointError(damaged_message(path))
    return LoadedEncoder(state, {}, "the encoder", *_moments(metadata, path), metadata, path)


def _torchvisions(path: Path, state: dict[str, Any]) -> LoadedEncoder:
    return _split(path, state, "", "the torchvision state dict", (_IMAGENET_MEAN, _IMAGENET_STD))


def _split(path: Path, state: dict[str, Any], prefix: str, kind: str, moments: Moments) -> LoadedEncoder:
    network = _under(state, prefix)
    encoder = {name: tensor for name, tensor in network.items() if not name.startswith("fc.")}
    return LoadedEncoder(encoder, _under(network, "fc."), kind, *moments, {}, path)


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _moments(metadata: Mapping[str, str], path: Path) -> Moments:
    try:
        mean, std = (tuple(map(float, json.loads(metadata[key]))) if key in metadata else None for key in _MOMENTS)
    except (TypeError, ValueError) as error:
        raise CheckpointError(damaged_message(path)) from error
    if any(values is not None and len(values) != 3 for values in (mean, std)):
        raise CheckpointError(damaged_message(path))
    return mean, std


def describe_network(state: Mapping[str, Tensor]) -> str:
    """A network in words, such as ``resnet18 with the stock stem``."""
    if "conv1.weight" not in state or "layer1.0.conv1.weight" not in state:
        return "not a ResNet"
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    blocks = tuple(sum(f"layer{stage}.{i}.conv1.weight" in state for i in range(64)) for stage in range(1, 5))
    name = _DEPTHS.get((last, blocks), f"a ResNet of {'-'.join(map(str, blocks))} blocks")
    width, channels, kernel = state["conv1.weight"].shape[:3]
    stem = {7: "the stock stem", 3: "the small stem"}.get(kernel, f"a {kernel}x{kernel} stem")
    wide = "" if width == 64 else f", {width} channels wide"
    grey = "" if channels == 3 else f", {channels} input channels"
    return f"{name} with {stem}{wide}{grey}"


# The key names of the original system's checkpoints (Zenodo record 8048780).
def _is_probe(state: Mapping[str, Tensor]) -> bool:
    """Whether this is its "logistic regression": one linear layer on cached features, without an encoder."""
    return set(state) == {"model.weight", "model.bias"}


def _is_pretraining(state: Mapping[str, Tensor]) -> bool:
    """Whether this is its SimCLR model: ``convnet.*``, with the projection head in place of the classifier."""
    return "convnet.conv1.weight" in state


def _is_classifier(state: Mapping[str, Tensor]) -> bool:
    """Whether this is its finetuned or baseline model: ``backbone.*``, with the classifier in ``backbone.fc``."""
    return "backbone.conv1.weight" in state
