"""The Hugging Face hub: weights of timm in its cache, where timm itself looks for them, and the upload of an export."""

from __future__ import annotations

import difflib
import importlib.util
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from simclr_med.errors import RunError
from simclr_med.https import open_url

WEIGHTS = "model.safetensors"  # timm's name of the file in each of its repositories
ANSWER_S = 5.0  # seconds in which the hub's server must answer; without this limit its client retries for up to 40


def find_weights(model: str) -> Path:
    """Return the pretrained weights of a timm model, downloaded into the cache if they are missing.

    Args:
        model: with its tag, such as ``resnet50.a1_in1k``, which names the repository ``timm/resnet50.a1_in1k``.

    Raises:
        RunError: the hub's client is not installed, timm has no such weights, or the file is not cached and cannot be
            downloaded.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise RunError("init=timm: huggingface_hub is not installed. Run pip install 'simclr-med[timm]'.")
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repository = f"timm/{model}"
    url = hf_hub_url(repository, WEIGHTS)
    try:
        cached = try_to_load_from_cache(repository, WEIGHTS)
        if isinstance(cached, str):
            return Path(cached)
        if not constants.HF_HUB_OFFLINE:
            _check_answer(url)
            _check_name(model)  # last, because it imports timm
        print(f"Downloading {WEIGHTS} of {repository}", flush=True)
        # safetensors hold no code, and the content hash of the weights is part of the run's identity.
        return Path(hf_hub_download(repository, WEIGHTS))  # nosec B615
    except RunError:
        raise
    # The client raises errors of many libraries: of the network, the server, the name and the disk.
    except Exception as error:
        raise RunError(
            f"init=timm: {WEIGHTS} of {repository} is not in {constants.HF_HUB_CACHE}, and the download failed "
            f"({_shorten(error)}). On a machine with a network, download {url} and use it with init=checkpoint "
            f"init.path=<file>, or copy the folder models--timm--{model} from its cache into this cache."
        ) from error


def push_folder(folder: Path, repository: str) -> str:
    """Upload a folder to a model repository of the hub, which is created as a private one, and return its address.

    Args:
        folder: with the files of an export.
        repository: ``<user>/<name>``. The account is that of the hub's client (``hf auth login`` or ``HF_TOKEN``).

    Raises:
        RunError: the hub's client is not installed, or the upload failed.
    """
    key = f"stage.push_to_hub={repository}"
    if importlib.util.find_spec("huggingface_hub") is None:
        raise RunError(f"{key}: huggingface_hub is not installed. Run pip install 'simclr-med[timm]'.")
    from huggingface_hub import HfApi, constants

    print(f"Uploading {folder.name} to {repository}", flush=True)
    try:
        _check_answer(constants.ENDPOINT)
        hub = HfApi(endpoint=constants.ENDPOINT)
        hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export of simclr-med")
    # The client raises errors of many libraries.
    except Exception as error:
        raise RunError(
            f"{key}: the upload failed ({_shorten(error)}). Log in with hf auth login, check the name and the network, "
            f"and repeat; the files are in {folder}."
        ) from error
    return f"{constants.ENDPOINT}/{repository}"


def _shorten(error: Exception) -> str:
    """Return the beginning of an error's message in one line."""
    return " ".join(str(error).split())[:120].rstrip(" .") or type(error).__name__


def _check_name(model: str) -> None:
    """Raise RunError if the installed timm has no weights of this name."""
    if importlib.util.find_spec("timm") is None:
        return
    import timm

    names = timm.list_pretrained()
    if model not in names:
        near = difflib.get_close_matches(model, names, n=3, cutoff=0.6)
        advice = f"Did you mean {' or '.join(near)}?" if near else "List the names with timm.list_pretrained()."
        raise RunError(f"encoder.model={model}: timm has no weights of this name. {advice}")


def _check_answer(url: str) -> None:
    """Raise an error if the server of an address does not answer in time; the answer itself is not checked."""
    try:
        with open_url(url, {"User-Agent": "simclr-med", "Range": "bytes=0-0"}, ANSWER_S):
            pass
    except HTTPError:
        pass
    except URLError as error:
        raise ConnectionError(f"no answer: {getattr(error.reason, 'strerror', None) or error.reason}") from error
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"no answer: {error}") from error
