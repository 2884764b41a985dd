"""Whether Weights & Biases can be reached from here, asked once and briefly."""

from __future__ import annotations

import netrc
import os
import socket
from typing import Literal, cast
from urllib.parse import urlsplit

Mode = Literal["online", "offline", "disabled", "shared"]


def wandb_mode(timeout_s: float) -> Mode:
    """``online`` when there are credentials and the server answers in time, else ``offline``.

    WANDB_MODE, when it is set, decides alone. Says in one line why a run with credentials is logged offline.
    """
    chosen = os.environ.get("WANDB_MODE")
    if chosen:
        return "offline" if chosen == "dryrun" else cast(Mode, chosen)  # wandb's older word
    address = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    host = address.hostname or "api.wandb.ai"
    if not (os.environ.get("WANDB_API_KEY") or _in_netrc(host)):
        return "offline"
    try:
        socket.create_connection((host, address.port or (443 if address.scheme == "https" else 80)), timeout_s).close()
    except OSError as error:
        print(f"Weights & Biases: {host} did not answer within {timeout_s:g} s ({error}); logging offline.", flush=True)
        return "offline"
    return "online"


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
