"""Hashes of the files that decide a run's numbers: recorded in result.json, compared before a file is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from simclr_med.atomic import sha256
from simclr_med.errors import CheckpointError
from simclr_med.safe_files import check_regular, read_json

# The files that other runs and the report read, with config.yaml, from which a saved network is built.
HASHED = (
    "config.yaml",
    "encoder.safetensors",
    "head.safetensors",
    "projection_head.safetensors",
    "predictions.npz",
    "subgroups.csv",
    "confounders.csv",
    "corruptions.csv",
)
REMEDY = "Restore it, or repeat the run with overwrite=true."


def hash_files(folder: Path) -> dict[str, str]:
    """Return the hash of each file of `HASHED` that a run's folder holds, by name: ``sha256:`` and 64 hex digits."""
    return {name: f"sha256:{sha256(folder / name)}" for name in HASHED if (folder / name).is_file()}


def verify_files(folder: Path, *names: str) -> str | None:
    """Compare files of a finished run with the hashes in its result.json.

    Args:
        folder: of the run.
        names: of the files.

    Returns:
        a note if the run recorded no hashes, as runs of the first release; else None.

    Raises:
        CheckpointError: a file has changed, is missing or cannot be read, or result.json cannot be read.
    """
    path = folder / "result.json"
    try:
        result = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: missing or unreadable. {REMEDY}") from error
    recorded = result.get("files") if isinstance(result, Mapping) else None
    if not isinstance(recorded, Mapping):
        return f"{folder}: recorded no hashes of its files (an earlier version wrote it), so they cannot be verified."
    for name in names:
        try:
            check_regular(folder / name)
            found = f"sha256:{sha256(folder / name)}"
        except OSError as error:
            raise CheckpointError(f"{folder / name}: {error.strerror or error}. {REMEDY}") from error
        if recorded.get(name) != found:
            raise CheckpointError(changed_message(folder / name))
    return None


def changed_message(file: Path) -> str:
    """Return the message for a file whose content is not the recorded one."""
    return f"{file}: has changed since the run finished (result.json records another hash). {REMEDY}"
