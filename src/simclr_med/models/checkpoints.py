"""Checkpoints and state dicts, read without running code from them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from simclr_med.errors import CheckpointError

# Objects in Lightning's checkpoints besides tensors and plain containers: they hold data alone.
_INERT: list[Any] = [
    Namespace,
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (dict, "lightning.pytorch.utilities.parsing.AttributeDict"),
    (dict, "lightning_fabric.utilities.data.AttributeDict"),
    (dict, "lightning.fabric.utilities.data.AttributeDict"),
]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what ``torch.save`` wrote, onto the CPU, without running code from it; zip files are checked by checksum.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or holds more than tensors and plain containers.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
                if "constants.pkl" in {name.rpartition("/")[2] for name in archive.namelist()}:
                    raise CheckpointError(
                        f"checkpoint={path}: expected a state dict, found a TorchScript program. Save its state_dict()."
                    )
        with torch.serialization.safe_globals(_INERT), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on other pickles; they are reported below
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except CheckpointError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise CheckpointError(f"checkpoint={path}: {error.strerror or error}. Name a readable file.") from error
    except pickle.UnpicklingError as error:
        # A zip file has passed its checksums, so the error is about its content.
        named = re.findall(r"GLOBAL ([\w.]+)", str(error))
        unsafe = zipfile.is_zipfile(path) or named or _is_plain_pickle(path)
        raise CheckpointError(_unsafe_message(path, named) if unsafe else damaged_message(path)) from error
    # zipfile and torch raise errors of many types on damaged bytes; each means that the file cannot be read.
    except Exception as error:
        raise CheckpointError(damaged_message(path)) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"checkpoint={path}: expected a dictionary, found {type(loaded).__name__}. Name another file."
        )
    return loaded


def damaged_message(path: Path) -> str:
    """Return the message for a file that is not an intact checkpoint."""
    return f"checkpoint={path}: not an intact checkpoint; the file is damaged or of another kind. Copy it again."


def _is_plain_pickle(path: Path) -> bool:
    """Return whether the file is a pickle of a protocol that torch.save does not use (it writes 2)."""
    with open(path, "rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x80 and 2 < start[1] <= pickle.HIGHEST_PROTOCOL


def _unsafe_message(path: Path, named: list[str]) -> str:
    unsafe_names = set(named)
    if zipfile.is_zipfile(path):
        with torch.serialization.safe_globals(_INERT):
            unsafe_names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    names = ", ".join(sorted(unsafe_names)[:3]) or "other objects"
    return (
        f"checkpoint={path}: the file holds {names}, which can run code, and was not loaded. If you trust it, save its "
        "state_dict() alone where it was made."
    )
