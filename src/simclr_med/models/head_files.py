"""Heads in files, beside the encoder that they belong to: a classifier, or the projection head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from safetensors import SafetensorError
from torch import Tensor, nn

from simclr_med.errors import CheckpointError
from simclr_med.models.heads import classifier_from
from simclr_med.models.safetensors_files import read_safetensors, write_safetensors
from simclr_med.types import Task

LONGEST_REASON = 300  # characters of a library's message, which may quote the file


@dataclass(frozen=True)
class LoadedHead:
    """A classifier head and the meaning of its outputs.

    Attributes:
        module: features_ND to logits_NK.
        classes: names, K of them.
        task: medmnist's name for the kind of labels.
    """

    module: nn.Module
    classes: tuple[str, ...]
    task: Task


def save_head(path: Path, head: nn.Module, classes: Sequence[str], task: Task) -> None:
    """Write a classifier head as safetensors, atomically; the folder must exist."""
    metadata = {"classes": json.dumps(list(classes), ensure_ascii=False), "task": task}
    write_safetensors(path, head.state_dict(), metadata)


def load_head(path: Path) -> LoadedHead:
    """Read what `save_head` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or not a classifier.
    """
    try:
        state, metadata = read_safetensors(path)
        classes = json.loads(metadata["classes"])
        if not isinstance(classes, list) or metadata["task"] not in get_args(Task):
            raise ValueError("its classes or its task are damaged")
        return LoadedHead(classifier_from(state), tuple(map(str, classes)), cast(Task, metadata["task"]))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file. Finish the run that writes it.") from error
    except (OSError, SafetensorError, ValueError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise CheckpointError(
            f"{path}: not an intact classifier ({reason}). Repeat its run with overwrite=true."
        ) from error


def save_projection(path: Path, head: nn.Module) -> None:
    """Write a projection head's weights, for finetuning from its first layer; the folder must exist."""
    write_safetensors(path, head.state_dict())


def load_projection(path: Path) -> dict[str, Tensor]:
    """Read what `save_projection` wrote: the state dict of a `projection_head`.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        return read_safetensors(path)[0]
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path}: no intact projection head. Repeat its pretraining run with overwrite=true, or set "
            "stage.projection_layers=0."
        ) from error
