"""A trained classifier in a file, beside the encoder that it stands on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from simclr_med.atomic import write_bytes
from simclr_med.errors import CheckpointError
from simclr_med.models.encoder_files import sort_header
from simclr_med.models.heads import classifier_from
from simclr_med.types import Task


@dataclass(frozen=True)
class LoadedHead:
    """A classifier and what its answers mean.

    Attributes:
        module: features_ND to logits_NK.
        classes: names, K of them.
        task: medmnist's word for what the labels mean.
    """

    module: nn.Module
    classes: tuple[str, ...]
    task: Task


def save_head(path: Path, head: nn.Module, classes: Sequence[str], task: Task) -> None:
    """Writes safetensors, whole or not at all; the folder must exist."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    metadata = {"classes": json.dumps(list(classes), ensure_ascii=False), "task": task}
    content = sort_header(safetensors.torch.save(state, metadata))
    write_bytes(path, content)


def load_head(path: Path) -> LoadedHead:
    """Reads what `save_head` wrote.

    Raises:
        CheckpointError: missing, damaged, or not a classifier.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        classes = tuple(map(str, json.loads(metadata["classes"])))
        return LoadedHead(classifier_from(state), classes, cast(Task, metadata["task"]))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: must be there. Finish the run that makes it.") from error
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        told = " ".join(str(error).split())
        raise CheckpointError(f"{path}: must be an intact classifier ({told}). Make its run again.") from error


def save_projection(path: Path, head: nn.Module) -> None:
    """Writes a projection head's weights, for finetuning from its first layer; the folder must exist."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    write_bytes(path, safetensors.torch.save(state))


def load_projection(path: Path) -> dict[str, Tensor]:
    """Reads what `save_projection` wrote: the state dict of a `projection_head`.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path}: must be an intact projection head. Make its pretraining run again, or set "
            "stage.projection_layers=0."
        ) from error
