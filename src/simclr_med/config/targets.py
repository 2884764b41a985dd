"""The targets that a config may name: those that the YAMLs of conf/ name, group by group.

A target is a function or class that `simclr_med.build` calls. Targets that are not in the table count as the user's own
code, which runs only with ``allow_code=true``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from simclr_med.config.folders import CONF
from simclr_med.safe_files import read_yaml

TARGET = "_target_"
# Nodes that hold options of another group.
_MOUNTED = {"stage.options": "augmentation", "stage.wandb": "logger"}
# Targets of libraries that a group allows, besides those of conf/.
_LIBRARIES = {"optimizer": re.compile(r"torch\.optim\.[A-Z]\w*")}


def find_targets(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (full key, value) of every ``_target_`` below a node, at any depth.

    Args:
        node: plain mappings, lists and values.
        key: of the node itself.
    """
    if isinstance(node, Mapping):
        for name, child in node.items():
            full = f"{key}.{name}" if key else str(name)
            if name == TARGET:
                yield full, child
            yield from find_targets(child, full)
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from find_targets(child, f"{key}[{index}]")


def unlisted_targets(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence for each target of a config that is not in the table of its group.

    Args:
        content: groups by name, as plain mappings with every interpolation resolved.
    """
    for key, target in find_targets(content):
        mounted = (group for node, group in _MOUNTED.items() if key.startswith(f"{node}."))
        if not is_listed(next(mounted, key.split(".")[0]), target):
            yield f"{key}={target}: not a target of this group. Add allow_code=true to run code of your own."


def is_listed(group: str, target: Any) -> bool:
    """Return whether a group's table has a target."""
    if not isinstance(target, str):
        return False
    library = _LIBRARIES.get(group)
    return target in _listed(group) or (library is not None and library.fullmatch(target) is not None)


@cache
def _listed(group: str) -> frozenset[str]:
    """The targets that the YAMLs of conf/<group> name, so that a new YAML there needs no second edit."""
    files = (CONF / group).rglob("*.yaml")
    return frozenset(str(target) for path in files for _, target in find_targets(read_yaml(path)))
