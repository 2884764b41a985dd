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
from torch import Tensor

from simclr_med.errors import CheckpointError
from simclr_med.safe_files import check_regular, open_zip

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
        check_regular(path)
    except OSError as error:
        raise CheckpointError(f"checkpoint={path}: {error.strerror or error}. Name a readable file.") from error
    try:
        if zipfile.is_zipfile(path):
            with open_zip(path) as archive:
                if "constants.pkl" in {name.rpartition("/")[2] for name in archive.namelist()}:
                    raise CheckpointError(
                        f"checkpoint={path}: expected a state dict, found a TorchScript program. Save its state_dict()."
                    )
                _check_sizes(archive, path)
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
        with torch.serialization.safe_globals(_INERT), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on other pickles; they are reported below
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except CheckpointError:
        raise
    except PermissionError as error:
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


def unusable_tensor(tensor: Tensor) -> str | None:
    """Return why a tensor of a file cannot be weights: it is not an array of numbers in memory. None if it is one."""
    if tensor.layout != torch.strided:
        return "is sparse"
    if tensor.device.type != "cpu":
        return f"has no values (device {tensor.device.type})"
    if tensor.is_quantized:
        return "is quantized"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "repeats its values"  # a few bytes could stand for gigabytes
    return None


def broken_values(name: str, tensor: Tensor) -> str | None:
    """Return what a tensor's values have to be, if they are not."""
    if name.endswith("num_batches_tracked"):
        return None
    if not (tensor.is_floating_point() and bool(tensor.isfinite().all())):
        return "finite floating-point weights"
    if name.endswith("running_var") and bool((tensor < 0).any()):
        return "variances >= 0"
    return None


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Check that the records are not compressed, as torch.save writes them: a small file could unpack to gigabytes."""
    records = archive.infolist()
    is_compressed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if is_compressed or sum(record.file_size for record in records) > path.stat().st_size:
        raise CheckpointError(
            f"checkpoint={path}: its records are compressed, which torch.save does not do. Save it again with "
            "torch.save."
        )


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
