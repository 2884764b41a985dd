"""The config.yaml of a run, read as data: references are not resolved, and nothing is imported or instantiated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simclr_med.runs.fields import Fields
from simclr_med.runs.identity import NAMED
from simclr_med.safe_files import read_yaml


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of a run's config.yaml: plain values, lists and mappings.

    Raises:
        OSError: the file is missing, unreadable, too large or not a regular file.
        ValueError: it is not YAML, holds a reference (``${...}``; runs write resolved values) or a missing value
            (``???``), or lacks a field that runs are found by. Names the field.
    """
    return check_config(read_yaml(path))


def check_config(content: Any) -> dict[str, Any]:
    """Return a run's config as it was recorded, in config.yaml or in result.json.

    Raises:
        ValueError: as `read_config`.
    """
    fields = Fields.from_record(content)
    for name, value in _iterate_texts("", content):
        if "${" in value or value == "???":
            raise ValueError(f"{name}={value!r:.60}: expected a resolved value")
    fields.integer("seed")
    for group in (*NAMED, "init"):
        fields.fields(group).text("name")
    fields.fields("dataset").integer_or_none("size", 1, 1 << 20)
    if fields.fields("init").text("name") == "pretrained":
        fields.fields("init").text_or_none("dataset")
    return dict(content)


def _iterate_texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the full name and the value of every text in a record; keys as well, which OmegaConf resolves too."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, child in value.items():
            full = f"{name}.{key}" if name else f"{key}"
            yield full, str(key)
            yield from _iterate_texts(full, child)
    elif isinstance(value, list):
        for child in value:
            yield from _iterate_texts(name, child)
