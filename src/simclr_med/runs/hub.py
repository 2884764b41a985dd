"""Weights of timm in the cache of the Hugging Face hub, where timm itself looks for them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from simclr_med.errors import RunError

WEIGHTS = "model.safetensors"  # timm's name of the file in each of its repositories


def find_weights(model: str) -> Path:
    """Return the pretrained weights of a timm model, downloaded into the cache if they are missing.

    Args:
        model: with its tag, such as ``resnet50.a1_in1k``, which names the repository ``timm/resnet50.a1_in1k``.

    Raises:
        RunError: the hub's client is not installed, or the file is not cached and cannot be downloaded.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise RunError("init=timm: huggingface_hub is not installed. Run pip install 'simclr-med[timm]'.")
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repository = f"timm/{model}"
    try:
        cached = try_to_load_from_cache(repository, WEIGHTS)
        if isinstance(cached, str):
            return Path(cached)
        print(f"Downloading {WEIGHTS} of {repository}", flush=True)
        # safetensors hold no code, and the content hash of the weights is part of the run's identity.
        return Path(hf_hub_download(repository, WEIGHTS))  # nosec B615
    # The client raises errors of many libraries: of the network, the server, the name and the disk.
    except Exception as error:
        reason = " ".join(str(error).split())[:120].rstrip(" .") or type(error).__name__
        raise RunError(
            f"init=timm: {WEIGHTS} of {repository} is not in {constants.HF_HUB_CACHE}, and the download failed "
            f"({reason}). Download {hf_hub_url(repository, WEIGHTS)} on a machine with a network, and use it by "
            "init=checkpoint init.path=<file>."
        ) from error
