"""torchvision's ImageNet weights, downloaded by torch.hub."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import torch

from simclr_med.atomic import sha256
from simclr_med.errors import CheckpointError


def download_weights(url: str, path: Path) -> None:
    """Download a file to path unless it exists.

    The file is checked by its SHA-256, whose first digits its name ends with.

    Raises:
        CheckpointError: no network, a wrong file, or a folder that cannot be written.
    """
    digits = path.stem.rpartition("-")[2]
    if path.is_file():
        found = sha256(path)[: len(digits)]
        if found != digits:
            raise CheckpointError(
                f"init=imagenet: {path} is not torchvision's file: its SHA-256 begins with {found}, expected {digits}. "
                "Delete it to download the right one, or use it by init=checkpoint init.path=."
            )
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"Downloading {url}", flush=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise CheckpointError(
            f"init=imagenet: no weights at {path}, and the download failed ({reason}). Download {url} on a machine "
            "with a network and copy it there."
        ) from error
