"""What identifies an encoder: its weights, and what its state dict leaves out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from simclr_med.models.encoders import Encoder, get_option

MOMENTS = ("mean", "std")


def encoder_metadata(encoder: Encoder) -> dict[str, str]:
    """Return what the state dict leaves out: JSON of ``mean``, ``std`` and the option, if any (key ``encoder``)."""
    metadata = {name: json.dumps([round(x, 7) for x in getattr(encoder, name).flatten().tolist()]) for name in MOMENTS}
    option = get_option(encoder)
    return metadata if option is None else metadata | {"encoder": json.dumps(option, sort_keys=True)}


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes, sorted by name, 64 hex digits.

    The same weights have the same hash in any file.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def encoder_hash(encoder: Encoder) -> str:
    """Return the SHA-256 over all that decides an encoder's features: weights, mean, std and option; 64 hex digits."""
    return combine_hashes(weights_hash(encoder.state_dict()), encoder_metadata(encoder))


def combine_hashes(weights: str, metadata: Mapping[str, str]) -> str:
    """Return the hash of an encoder with this `weights_hash` and `encoder_metadata`."""
    parts = [weights, *(metadata.get(key) for key in (*MOMENTS, "encoder"))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
