"""Features on the disk: computed once for each (encoder, data, split), shared by all jobs, mended when damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from filelock import FileLock
from safetensors import SafetensorError
from torch import Tensor

from simclr_med.atomic import write_bytes

_NAME = "features_ND"


def cache_key(**facts: Any) -> str:
    """32 hex digits of SHA-256 over everything that the features depend on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def load_or_compute(folder: Path, key: str, compute: Callable[[], Tensor]) -> Tensor:
    """The features kept under a key, or computed and kept.

    Of several processes that need the same ones, one computes. A file that is damaged is made again, and this is said;
    a folder that cannot be written costs the time of computing and nothing else, and this is said as well.

    Args:
        folder: of the cache; made when missing.
        key: of `cache_key`.
        compute: gives features_ND.

    Returns:
        features_ND on the CPU, as they were computed, bit by bit.
    """
    path = folder / f"{key}.safetensors"
    found = _read(path)
    if found is not None:
        return found
    lock = FileLock(path.with_suffix(".lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        print(f"{folder}: features could not be kept ({error.strerror}); computed for this run alone.", flush=True)
        return compute().cpu().contiguous()
    try:
        found = _read(path)  # by another process meanwhile
        if found is not None:
            return found
        if path.exists():
            print(f"{path}: damaged; these features are computed again.", flush=True)
        features = compute().cpu().contiguous()
        _keep(path, features)
        return features
    finally:
        lock.release()


def _keep(path: Path, features: Tensor) -> None:
    try:
        content = safetensors.torch.save({_NAME: features}, {"sha256": _digest(features)})
        write_bytes(path, content)
    except OSError as error:
        print(f"{path}: could not be kept ({error.strerror}); the next run computes it again.", flush=True)


def _read(path: Path) -> Tensor | None:
    """The tensor of an intact file; None when there is none."""
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            features: Tensor = file.get_tensor(_NAME)
            told = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError, ValueError):
        return None
    return features if told == _digest(features) else None


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.contiguous().view(torch.uint8).numpy().data).hexdigest()
