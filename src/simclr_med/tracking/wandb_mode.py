"""Whether Weights & Biases can be reached from here, asked once and briefly."""

from __future__ import annotations

import base64
import json
import netrc
import os
import threading
from http.client import HTTPException
from typing import Literal, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import wandb

from simclr_med.errors import ConfigError

NOBODY = "there are no credentials (wandb login)"
Mode = Literal["online", "offline", "disabled", "shared"]
# wandb's older words too.
_CHOICES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


def wandb_mode(timeout_s: float) -> Mode:
    """The mode of `asked`; says in one line why a run with credentials is logged offline.

    Args:
        timeout_s: as there.

    Raises:
        ConfigError: as there.
    """
    mode, why = resolve_mode(timeout_s)
    if why is not None and why != NOBODY:
        print(f"W&B:      logging offline: {why}.", flush=True)
    return mode


def resolve_mode(timeout_s: float) -> tuple[Mode, str | None]:
    """``online`` when there are credentials and the server takes them in time, else ``offline`` and why.

    WANDB_MODE, when it is set, decides alone, and so does what ``wandb offline`` has set; there is no why then.

    Args:
        timeout_s: seconds for the whole question: finding the host, connecting, the answer.

    Raises:
        ConfigError: WANDB_MODE is none of wandb's words.
    """
    chosen = os.environ.get("WANDB_MODE")
    if chosen:
        if chosen not in _CHOICES:
            known = ", ".join(sorted(_CHOICES))
            raise ConfigError(
                f"WANDB_MODE={chosen}: must be one of {known}. Change or unset this environment variable."
            )
        return _CHOICES[chosen], None
    settings = wandb.setup().settings
    if settings.mode != "online":
        return cast(Mode, settings.mode), None
    key = settings.api_key or _netrc_key(urlsplit(settings.base_url).netloc)
    if not (key or settings.identity_token_file):
        return "offline", NOBODY
    why = _unusable(settings.base_url, key, timeout_s)
    return ("online", None) if why is None else ("offline", f"{settings.base_url} {why}")


def _unusable(base_url: str, key: str | None, timeout_s: float) -> str | None:
    """Why a run cannot be logged there, in words; None when it can."""
    told: list[str | None] = []
    # A thread, since nothing else bounds the time that a look-up of the host's name or a dripping answer takes.
    asking = threading.Thread(target=lambda: told.append(_ask(base_url, key, timeout_s)), daemon=True)
    asking.start()
    asking.join(timeout_s)
    return told[0] if told else f"did not answer within {timeout_s:g} s"


def _ask(base_url: str, key: str | None, timeout_s: float) -> str | None:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()
    question = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()
    try:
        with urlopen(Request(f"{base_url}/graphql", question, headers), timeout=timeout_s) as answer:
            content = json.loads(answer.read(1 << 16))
    except HTTPError as error:
        return f"answered {error.code}" + (" (it does not know this key)" if error.code in (401, 403) else "")
    except TimeoutError:
        return f"did not answer within {timeout_s:g} s"
    except URLError as error:
        return f"cannot be reached ({getattr(error.reason, 'strerror', None) or error.reason})"
    except (OSError, HTTPException, ValueError):
        return "answered nothing that Weights & Biases would"
    if not isinstance(content, dict) or "data" not in content:
        return "answered nothing that Weights & Biases would"
    return None


def _netrc_key(host: str) -> str | None:
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None
