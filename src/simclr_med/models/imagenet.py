"""torchvision's ImageNet weights, downloaded into torch.hub's folder."""

from __future__ import annotations

import hashlib
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from simclr_med.atomic import sha256, write_atomically
from simclr_med.errors import CheckpointError
from simclr_med.https import open_url

MOST_BYTES = 512 << 20  # the largest file of conf/init/imagenet.yaml, that of ConvNeXt-T, has 109 MiB
BLOCK = 1 << 18  # bytes read at a time
STALL_S = 20.0  # seconds without data after which the download fails


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
        write_atomically(path, lambda file: _download(url, digits, file))
    except (OSError, ValueError, HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise CheckpointError(
            f"init=imagenet: no weights at {path}, and the download failed ({reason}). Download {url} on a machine "
            "with a network and copy it there."
        ) from error


def _download(url: str, digits: str, file: BinaryIO) -> None:
    """Write what a server sends to a file.

    Raises:
        ValueError: the server sends more than `MOST_BYTES`, or a file whose SHA-256 begins with other digits.
        OSError, HTTPException: the download failed.
    """
    digest = hashlib.sha256()
    size = 0
    with open_url(url, {"User-Agent": "simclr-med"}, STALL_S) as response:
        while block := response.read(BLOCK):
            size += len(block)
            if size > MOST_BYTES:
                raise ValueError(f"the server sends more than {MOST_BYTES >> 20} MiB")
            digest.update(block)
            file.write(block)
    found = digest.hexdigest()[: len(digits)]
    if found != digits:
        raise ValueError(f"its hash is wrong: the SHA-256 begins with {found}, expected {digits}")
