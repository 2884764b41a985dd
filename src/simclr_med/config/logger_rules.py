"""The rules of logger.tracking_uri, and how messages show an address that may hold a password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from simclr_med.config.schema import Config

# Credentials before the host, and a query that may hold some.
_SECRETS = re.compile(r"(?<=://)[^?#]*@|(?<=\?).*")


def mask_secrets(uri: str) -> str:
    """Return an address with ``***`` in place of the credentials that it holds."""
    return _SECRETS.sub(lambda found: "***@" if found[0].endswith("@") else "***", uri)


def broken_logger_rules(cfg: Config[Any]) -> Iterator[str]:
    """Yield a sentence for each broken rule."""
    uri = cfg.logger.tracking_uri
    if uri is None:
        return
    shown = f"logger.tracking_uri={mask_secrets(uri)}"
    if not any(isinstance(node, Mapping) and "tracking_uri" in node for node in cfg.logger.loggers):
        yield f"{shown}: not used by logger={cfg.logger.name}. Add logger=mlflow, or remove it."
    elif mask_secrets(uri) != uri:
        yield (
            f"{shown}: config.yaml would record these credentials. Set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or the whole address as MLFLOW_TRACKING_URI."
        )
