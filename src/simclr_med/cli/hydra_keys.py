"""Check what a folder of the user's own options sets for Hydra itself, before Hydra reads it.

Hydra builds its callbacks, launcher and logging before `simclr_med.config.validate` sees a config. The YAML of an
option could therefore run code by setting them, and is refused unless ``allow_code=true`` was typed.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from simclr_med.errors import ConfigError
from simclr_med.safe_files import read_text, read_yaml

HYDRA = "hydra"
_PACKAGE = re.compile(r"^\s*#\s*@package\s.*hydra", flags=re.MULTILINE)


def check_own_options(folders: Sequence[Path], overrides: Sequence[str]) -> None:
    """Check the YAMLs of own options: below ``hydra`` a grid may set ``mode`` and ``sweeper.params``, and nothing else.

    Args:
        folders: of own options.
        overrides: of the command line. Options of the folder hydra/ take effect only when they are named there.

    Raises:
        ConfigError: one line for each file that sets more.
    """
    found = []
    for folder in folders:
        found += [_problem(path, key) for path in _list_yamls(folder) if (key := _forbidden(path)) is not None]
        chosen = (word.lstrip("+").split("=", 1) for word in overrides if word.lstrip("+").startswith(f"{HYDRA}/"))
        named = (folder / group / f"{option}.yaml" for group, option in (pair for pair in chosen if len(pair) == 2))
        found += [_problem(path, HYDRA) for path in named if path.exists()]
    if found:
        raise ConfigError(*found)


def _list_yamls(folder: Path) -> Iterator[Path]:
    """Yield the YAMLs below a folder, also behind links, without its own folder hydra/."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if Path(parent) == folder and HYDRA in folders:
            folders.remove(HYDRA)
        folders.sort()
        place = os.path.realpath(parent)
        if place in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(place)
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".yaml"))


def _problem(path: Path, key: str) -> str:
    return f"{path}: an option of your own cannot set {key}. Add allow_code=true to run code of your own."


def _forbidden(path: Path) -> str | None:
    """Return a key of Hydra that a YAML sets and may not set; None if there is none."""
    try:
        text = read_text(path)
        if path.stem != HYDRA and HYDRA not in text and "\\" not in text:  # YAML can write a text with escapes
            return None
        content = read_yaml(path)
    except (OSError, ValueError):
        return HYDRA if _mentions_hydra(path) else None
    if path.stem == HYDRA or _PACKAGE.search(text):
        return HYDRA
    return next(_forbidden_keys(content), None) if isinstance(content, dict) else None


def _mentions_hydra(path: Path) -> bool:
    """Return whether a file that cannot be read as plain YAML could still mean something to Hydra."""
    try:
        text = read_text(path)
    except ValueError:
        return False  # Hydra cannot read it either
    except OSError as error:
        return error.errno in (errno.EFBIG, errno.EINVAL)  # too large, or not a regular file
    return HYDRA in text or "\\" in text


def _forbidden_keys(content: dict[Any, Any]) -> Iterator[str]:
    defaults = content.get("defaults")
    for entry in defaults if isinstance(defaults, list) else []:
        if HYDRA in str(entry):
            yield f"defaults: {entry}"
    own = content.get(HYDRA)
    for key, value in own.items() if isinstance(own, dict) else [] if own is None else [("", own)]:
        if key == "sweeper":
            yield from _forbidden_sweeps(value)
        elif key != "mode":
            yield f"{HYDRA}.{key}"


def _forbidden_sweeps(sweeper: Any) -> Iterator[str]:
    """Yield the keys of the sweeper that a grid sets, besides its axes."""
    axes = sweeper.get("params", {}) if isinstance(sweeper, dict) else None
    if not isinstance(axes, dict) or set(sweeper) - {"params"}:
        yield f"{HYDRA}.sweeper"
    else:
        yield from (f"{HYDRA}.sweeper.params.{axis}" for axis in axes if HYDRA in str(axis))
