"""Checkpoints and state dicts: read without running any code in them."""

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

# What Lightning's checkpoints may hold besides tensors and plain containers: inert, and read as plain containers.
_INERT: list[Any] = [
    Namespace,
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (dict, "lightning.pytorch.utilities.parsing.AttributeDict"),
    (dict, "lightning_fabric.utilities.data.AttributeDict"),
    (dict, "lightning.fabric.utilities.data.AttributeDict"),
]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what ``torch.save`` wrote, onto the CPU, without running code from it; zip files by their checksums.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or holds objects beyond plain containers.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
                if "constants.pkl" in {name.rpartition("/")[2] for name in archive.namelist()}:
                    raise CheckpointError(
                        f"checkpoint={path}: must hold a state dict, not a TorchScript program. Save its state_dict()."
                    )
        with torch.serialization.safe_globals(_INERT), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on other pickles, which are refused in our own words
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except CheckpointError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise CheckpointError(f"checkpoint={path}: must be a readable file. {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        # A zip file has passed its checksums: only its content can have been refused.
        named = re.findall(r"GLOBAL ([\w.]+)", str(error))
        unsafe = zipfile.is_zipfile(path) or named or _is_plain_pickle(path)
        raise CheckpointError(_unsafe(path, named) if unsafe else damaged_message(path)) from error
    # What zipfile and torch raise on damaged bytes is of no one kind; all of it means that the file cannot be read.
    except Exception as error:
        raise CheckpointError(damaged_message(path)) from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"checkpoint={path}: must hold a dictionary, not {type(loaded).__name__}. Name another.")
    return loaded


def damaged_message(path: Path) -> str:
    """The problem of a file that is not a whole checkpoint, in one line."""
    return f"checkpoint={path}: must be a whole checkpoint; it is damaged or of another kind. Copy it again."


def _is_plain_pickle(path: Path) -> bool:
    """Whether a protocol was used that torch.save uses not (it writes 2)."""
    with open(path, "rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x80 and 2 < start[1] <= pickle.HIGHEST_PROTOCOL


def _unsafe(path: Path, named: list[str]) -> str:
    found = set(named)
    if zipfile.is_zipfile(path):
        with torch.serialization.safe_globals(_INERT):
            found |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    names = ", ".join(sorted(found)[:3]) or "other objects"
    return (
        f"checkpoint={path}: must hold tensors and plain containers alone, not {names}, which can run code; it was not "
        "opened. Save its state_dict() alone where it was made, if you trust it."
    )
