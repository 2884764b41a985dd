"""Facts about the MedMNIST sets, from medmnist's own table and nowhere else."""

from __future__ import annotations

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

from simclr_med.errors import ConfigError

SIZES = (28, 64, 128, 224)


@lru_cache(maxsize=1)
def load_medmnist_table() -> dict[str, dict[str, Any]]:
    """medmnist's INFO, read as a literal: importing the package would import torch and make a folder."""
    spec = importlib.util.find_spec("medmnist")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("medmnist: the package is not installed. Run pip install medmnist.")
    tree = ast.parse((Path(spec.submodule_search_locations[0]) / "info.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "INFO" for t in node.targets):
            return dict(ast.literal_eval(node.value))
    raise ConfigError("medmnist: its info.py has no literal INFO. Install medmnist 3.0 or newer.")


def medmnist_info(flag: str, size: int) -> dict[str, Any]:
    """Return the facts about one MedMNIST file.

    Args:
        flag: medmnist's name of the set, as ``bloodmnist``.
        size: side of the images in pixels: 28, 64, 128 or 224.

    Returns:
        task, labels ({"0": name}), n_channels, n_samples, url and md5 of the file of that size.
    """
    table = load_medmnist_table()
    if flag not in table or flag.endswith("3d"):
        raise ConfigError(f"dataset.name={flag}: not a 2D MedMNIST flag. Use dataset=npz for a file of your own.")
    if size not in SIZES:
        raise ConfigError(f"dataset.size={size}: expected one of {', '.join(map(str, SIZES))}. Choose one.")
    entry = table[flag]
    suffix = "" if size == 28 else f"_{size}"
    return {
        "task": entry["task"],
        "labels": entry["label"],
        "n_channels": entry["n_channels"],
        "n_samples": entry["n_samples"],
        "url": entry[f"url{suffix}"],
        "md5": entry[f"MD5{suffix}"],
    }
