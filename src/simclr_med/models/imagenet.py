"""torchvision's ImageNet weights, fetched by torch.hub."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import torch

from simclr_med.atomic import sha256
from simclr_med.errors import CheckpointError


def download_weights(url: str, path: Path) -> None:
    """Puts the file at url to path, unless it is there; checked by the beginning of SHA-256 that its name ends with.

    Raises:
        CheckpointError: no network, a wrong file, or a folder that takes none.
    """
    checked = path.stem.rpartition("-")[2]
    if path.is_file():
        found = sha256(path)[: len(checked)]
        if found != checked:
            raise CheckpointError(
                f"init=imagenet: {path} must be torchvision's file, whose SHA-256 begins with {checked}; that of this "
                f"one begins with {found}. Remove it to have it downloaded, or name it by init=checkpoint init.path=."
            )
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"Downloading {url}", flush=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=checked, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        told = " ".join(str(getattr(error, "reason", None) or error).split())
        raise CheckpointError(
            f"init=imagenet: must find {path}, and it could not be downloaded ({told}). Get it on a machine with a "
            f"network, from {url}, and put it there."
        ) from error
