"""Whether a run is logged online or offline to Weights & Biases."""

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

NO_CREDENTIALS = "no credentials found (run wandb login)"
Mode = Literal["online", "offline", "disabled", "shared"]
# Including wandb's older names.
_CHOICES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


def choose_mode(timeout_s: float) -> Mode:
    """Return the mode of `resolve_mode`; print the reason if a run with credentials is logged offline.

    Args:
        timeout_s: as in `resolve_mode`.

    Raises:
        ConfigError: as in `resolve_mode`.
    """
    mode, reason = resolve_mode(timeout_s)
    if reason is not None and reason != NO_CREDENTIALS:
        print(f"W&B:      logging offline: {reason}.", flush=True)
    return mode


def resolve_mode(timeout_s: float) -> tuple[Mode, str | None]:
    """Return ``online`` if there are credentials and the server accepts them in time, else ``offline`` and the reason.

    WANDB_MODE and the setting of ``wandb offline`` take precedence; the reason is None then.

    Args:
        timeout_s: seconds for the whole request: resolving the host, connecting, receiving the response.

    Raises:
        ConfigError: WANDB_MODE is invalid.
    """
    chosen = os.environ.get("WANDB_MODE")
    if chosen:
        if chosen not in _CHOICES:
            known = ", ".join(sorted(_CHOICES))
            raise ConfigError(
                f"WANDB_MODE={chosen}: expected one of {known}. Change or unset this environment variable."
            )
        return _CHOICES[chosen], None
    settings = wandb.setup().settings
    if settings.mode != "online":
        return cast(Mode, settings.mode), None
    key = settings.api_key or _read_netrc_key(urlsplit(settings.base_url).netloc)
    if not (key or settings.identity_token_file):
        return "offline", NO_CREDENTIALS
    problem = _find_problem(settings.base_url, key, timeout_s)
    return ("online", None) if problem is None else ("offline", f"{settings.base_url} {problem}")


def _find_problem(base_url: str, key: str | None, timeout_s: float) -> str | None:
    """Return why the server cannot be used, or None if it can."""
    problems: list[str | None] = []
    # A thread, because the time-out of a request covers neither the host's look-up nor a slow response.
    request = threading.Thread(target=lambda: problems.append(_query_server(base_url, key, timeout_s)), daemon=True)
    request.start()
    request.join(timeout_s)
    return problems[0] if problems else f"did not respond within {timeout_s:g} s"


def _query_server(base_url: str, key: str | None, timeout_s: float) -> str | None:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()
    query = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()
    try:
        # The address is a setting of the user, as for wandb itself.
        with urlopen(Request(f"{base_url}/graphql", query, headers), timeout=timeout_s) as response:  # nosec B310
            content = json.loads(response.read(1 << 16))
    except HTTPError as error:
        return f"responded with status {error.code}" + (" (invalid API key)" if error.code in (401, 403) else "")
    except TimeoutError:
        return f"did not respond within {timeout_s:g} s"
    except URLError as error:
        return f"cannot be reached ({getattr(error.reason, 'strerror', None) or error.reason})"
    except (OSError, HTTPException, ValueError):
        return "is not a Weights & Biases server"
    if not isinstance(content, dict) or "data" not in content:
        return "is not a Weights & Biases server"
    return None


def _read_netrc_key(host: str) -> str | None:
    try:
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return entry[2] if entry else None
