"""Features on disk, computed once for each encoder, data set and split, and shared by all runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from filelock import FileLock
from safetensors import SafetensorError
from torch import Tensor

from simclr_med.atomic import remove_unfinished, write_bytes
from simclr_med.models.encoder_hashes import weights_hash

_NAME = "features_ND"


def cache_key(**facts: Any) -> str:
    """Return 32 hex digits of SHA-256 over everything that the features depend on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def load_or_compute(folder: Path, key: str, compute: Callable[[], Tensor]) -> Tensor:
    """Return the features stored under a key, or compute and store them.

    When several processes need the same features, one computes them. Damaged files are computed again and folders that
    cannot be written are not used; both are reported.

    Args:
        folder: of the cache; created when missing.
        key: of `cache_key`.
        compute: returns features_ND.

    Returns:
        features_ND on the CPU, bit-identical to what was computed.
    """
    path = folder / f"{key}.safetensors"
    stored = _read(path, key)
    if stored is not None:
        return stored
    lock = FileLock(path.with_suffix(".lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        print(
            f"{folder}: features could not be stored ({error.strerror}); computing them for this run alone.", flush=True
        )
        return compute().cpu().contiguous()
    try:
        stored = _read(path, key)  # another process may have stored them since
        if stored is not None:
            return stored
        if path.exists():
            print(f"{path}: damaged file; computing the features again.", flush=True)
        features = compute().cpu().contiguous()
        _store(path, key, features)
        return features
    finally:
        lock.release()


def _store(path: Path, key: str, features: Tensor) -> None:
    try:
        remove_unfinished(path)
        content = safetensors.torch.save({_NAME: features}, _checks(key, features))
        write_bytes(path, content)
    except OSError as error:
        print(f"{path}: could not be stored ({error.strerror}); the next run computes the features again.", flush=True)


def _read(path: Path, key: str) -> Tensor | None:
    """Return the features of an intact file of this key; None when there is none."""
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            features: Tensor = file.get_tensor(_NAME)
            recorded = file.metadata()
    except (OSError, SafetensorError, ValueError):
        return None
    return features if recorded == _checks(key, features) else None


def _checks(key: str, features: Tensor) -> dict[str, str]:
    """Return the metadata of an intact file. The key tells a file from another one that has its name."""
    return {"key": key, "sha256": weights_hash({_NAME: features})}
