"""The files that decide numbers, their readers, and one flipped byte in them."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simclr_med.data.memory_maps import read_or_map
from simclr_med.evaluation.cache import load_or_compute
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import tiny
from simclr_med.models.head_files import load_projection
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.results import read_result
from simclr_med.runs.file_hashes import verify_files
from simclr_med.stages.saved_model import load_saved_model

IMAGES = torch.rand(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Target:
    """A file and its reader.

    Attributes:
        path: of the file.
        read: returns a digest of all that the reader found.
    """

    path: Path
    read: Callable[[], str]


def targets(runs: Path, npz: Path) -> dict[str, Target]:
    """Return the files of a pretraining run, of its probe and of its finetuned encoder, and their readers.

    Args:
        runs: where the three runs are.
        npz: a file whose train_images are memory-mapped here.
    """
    pretrained, probe, tuned = (next(runs.glob(f"{stage}/*/*")) for stage in ("pretrain", "probe", "finetune"))
    (features, *_) = sorted((runs / ".features").glob("*.safetensors"))
    stored = load_or_compute(features.parent, features.stem, lambda: torch.empty(0)).clone()
    read_or_map(npz, "train_images", 0)
    (mapped,) = npz.parent.glob(".simclr_med/*.npy")
    encoder, projection = pretrained / "encoder.safetensors", pretrained / "projection_head.safetensors"

    def predictions() -> str:
        task, labels, probabilities = read_predictions(probe / "predictions.npz", read_result(probe).predictions_hash)
        return digest([task, labels, probabilities])

    def head_of_pretraining() -> str:
        verify_files(pretrained, projection.name)
        return digest(load_projection(projection))

    def without_a_run() -> str:
        network = tiny()
        load_weights(network, load_encoder_state(encoder))
        return digest(network.eval()(IMAGES))

    return {
        "encoder of a probe": Target(encoder, lambda: digest(outputs(probe))),
        "encoder as init.path": Target(encoder, without_a_run),
        "finetuned encoder": Target(tuned / "encoder.safetensors", lambda: digest(outputs(tuned))),
        "head": Target(probe / "head.safetensors", lambda: digest(outputs(probe))),
        "projection head": Target(projection, head_of_pretraining),
        "predictions": Target(probe / "predictions.npz", predictions),
        "features cache": Target(
            features, lambda: digest(load_or_compute(features.parent, features.stem, stored.clone))
        ),
        "mapped npy": Target(mapped, lambda: digest(np.array(read_or_map(npz, "train_images", 0)))),
        "last.ckpt": Target(
            pretrained / "checkpoints" / "last.ckpt",
            lambda: digest(load_checkpoint(pretrained / "checkpoints" / "last.ckpt")),
        ),
    }


def outputs(folder: Path) -> list[Any]:
    """Return a saved classifier's logits for `IMAGES`, its classes and its task."""
    model = load_saved_model(folder)
    with torch.no_grad():
        features = model.encoder.eval()(IMAGES)
        weight = next(model.head.module.parameters())
        return [model.head.module(features.to(weight.dtype)), model.head.classes, model.head.task]


def digest(content: Any) -> str:
    """Return a hash of nested containers of arrays, tensors and plain values."""
    if isinstance(content, torch.Tensor):
        content = content.detach().numpy()
    if isinstance(content, np.ndarray):
        text = f"{content.dtype}{content.shape}{hashlib.sha256(np.ascontiguousarray(content).data).hexdigest()}"
    elif isinstance(content, dict):
        text = "".join(f"{key!r}:{digest(value)}" for key, value in content.items())
    elif isinstance(content, (list, tuple)):
        text = f"{type(content).__name__}" + "".join(map(digest, content))
    else:
        text = repr(vars(content) if hasattr(content, "__dict__") else content)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def flipped(path: Path, draw: random.Random) -> Iterator[str]:
    """Flip one byte of a file inside the block, and yield which one."""
    whole = path.read_bytes()
    # Headers are short, so that half of the flips go there.
    place = draw.randrange(min(len(whole), 4096) if draw.random() < 0.5 else len(whole))
    mask = 1 << draw.randrange(8) if draw.random() < 0.5 else draw.randrange(1, 256)
    # A new file, as a memory map of the old one may be open.
    path.unlink()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
    try:
        yield f"byte {place} of {len(whole)}, mask {mask:#04x}"
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
