"""Safetensors files: written atomically with the same bytes each time, read with their metadata."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from simclr_med.atomic import write_bytes
from simclr_med.safe_files import open_regular

MOST_HEADER_BYTES = 2 << 20  # names and shapes of 20,000 tensors, ten times those of a large network


def write_safetensors(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict atomically, with metadata or without; the folder must exist."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if metadata is None:
        write_bytes(path, safetensors.torch.save(whole))
    else:
        write_bytes(path, _sort_header(safetensors.torch.save(whole, dict(metadata))))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors, on the CPU, and its metadata.

    Raises:
        OSError: the file is missing, cannot be read, or has a header above `MOST_HEADER_BYTES`.
        SafetensorError, ValueError: the file is damaged.
    """
    with open_regular(path) as opened:
        if int.from_bytes(opened.read(8), "little") > MOST_HEADER_BYTES:
            raise OSError(errno.EFBIG, "its header is too large", str(path))
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return state, dict(file.metadata() or {})


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors does: eight bytes of length, then JSON (no pickle or zip file does).

    Raises:
        OSError: the file is missing or cannot be read.
    """
    with open_regular(path) as file:
        start = file.read(9)
    return start[8:] == b"{"


def _sort_header(content: bytes) -> bytes:
    """Return the file with its header's keys in order: the library writes metadata in a random order."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the format aligns the tensors to 8 bytes
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
