"""An option of a group, found by its name, and the values that a run recorded for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from simclr_med.config.folders import CONF, list_options
from simclr_med.config.registry import register
from simclr_med.config.targets import TARGET
from simclr_med.errors import ConfigError
from simclr_med.runs.fields import describe_value

# Values of a YAML that say nothing about their kind.
_OPEN = (None, "???")
_MOST_BITS = 63
_KINDS = {bool: "true or false", int: "an integer", float: "a finite number", str: "text"}


@cache
def load_option(folders: tuple[Path, ...], group: str, name: str, **values: str | int | None) -> DictConfig:
    """Compose one option of a group, with the defaults of its YAML.

    Args:
        folders: of the user's own options, searched after conf/.
        group: name of the group.
        name: of the option.
        values: of its keys, instead of those of the YAML.

    Raises:
        ConfigError: there is no such option.
    """
    every = [CONF, *folders]
    if name not in list_options(every, group):
        raise ConfigError(
            f"{group}={name}: unknown option. Name the folder of its YAML with --config-dir, or use another run."
        )
    register(every)
    places = ",".join(_quote(f"file://{folder.absolute()}") for folder in folders)
    with _without_running_hydra(), initialize_config_dir(str(CONF), version_base="1.3"):
        texts = {key: _quote(value) if isinstance(value, str) else value for key, value in values.items()}
        typed = [f"{group}.{key}={'null' if text is None else text}" for key, text in texts.items()]
        node = compose("config", [f"hydra.searchpath=[{places}]", f"{group}={name}", *typed])[group]
    assert isinstance(node, DictConfig), "every option of a group is a mapping"
    return node


def recorded_values(option: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a run recorded for an option's keys, without its name and target.

    The record may be somebody else's, so only numbers, texts, truth values and lists of them are returned, each of the
    type of the option's own value. Nested mappings must equal those of the option itself.

    Args:
        option: content of the option's YAML, interpolations unresolved. Only it decides what is called.
        recorded: the group's node in the run's config.yaml.

    Raises:
        ValueError: an unknown key, another target, or a value of another type; ``<key>=<value>: <what is wrong>``.
    """
    found = {}
    for key, value in recorded.items():
        shown = f"{describe_value(key)}={describe_value(value)}"
        if key not in option:
            raise ValueError(f"{shown}: unknown key")
        if key == TARGET:
            if not _is_renamed(value, option[key]):
                raise ValueError(f"{shown}: expected {option[key]}")
        elif isinstance(option[key], Mapping):
            if value != option[key]:
                raise ValueError(f"{shown}: expected the mapping of the option's own YAML")
        elif key != "name":
            if expected := _expected(value, option[key]):
                raise ValueError(f"{shown}: expected {expected}")
            found[key] = value
    return found


@contextmanager
def _without_running_hydra() -> Iterator[None]:
    """Set aside the Hydra that runs this job, since only one can exist, and put it back afterwards."""
    place = GlobalHydra.instance()
    running = place.hydra
    place.clear()
    try:
        yield
    finally:
        if running is not None:
            GlobalHydra.instance().clear()
            GlobalHydra.instance().initialize(running)


def _is_renamed(target: Any, known: Any) -> bool:
    """Return whether a target is the known one, or one of an earlier version of this package, which is not called."""
    return target == known or (isinstance(target, str) and target.startswith("simclr_med."))


def _expected(value: Any, default: Any) -> str | None:
    """Return what a recorded value must be, in words; None if it has the type of the option's own value."""
    if isinstance(default, list):
        if not isinstance(value, list):
            return "a list"
        kinds = default or [None]
        return next((f"a list of {expected}" for item in value if (expected := _expected(item, kinds[0]))), None)
    if default in _OPEN or (isinstance(default, str) and "${" in default):
        values = value if isinstance(value, list) else [value]
        fits = value is None or all(any(_is_kind(item, kind) for kind in _KINDS) for item in values)
        return None if fits else "a number, a text, true or false"
    return None if _is_kind(value, type(default)) else _KINDS[type(default)]


def _is_kind(value: Any, kind: type) -> bool:
    if type(value) is int and value.bit_length() > _MOST_BITS:
        return False
    if kind is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is kind


def _quote(text: str) -> str:
    """Return a text in the quotes of Hydra's grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
