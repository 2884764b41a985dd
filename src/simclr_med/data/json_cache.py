"""Small records in the user's cache folder, so that a second start reads no image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from simclr_med.atomic import write_json
from simclr_med.safe_files import read_json


def cached_record(key: list[Any], is_intact: Callable[[Any], bool], compute: Callable[[], Any]) -> Any:
    """Return the record of a key, from the cache or computed.

    Args:
        key: everything that determines the record, as JSON.
        is_intact: whether a record of the cache is what `compute` returns; a damaged one is computed again.
        compute: returns the record, as JSON. If the cache cannot be written (a read-only home), every start computes.
    """
    from platformdirs import user_cache_path

    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    cache = user_cache_path("simclr-med") / "folders" / f"{name}.json"
    with suppress(OSError, ValueError):
        found = read_json(cache)
        if is_intact(found):
            return found
    record = compute()
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, record)
    return record
