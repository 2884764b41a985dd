"""The values of a config that differ from the defaults of conf/, read from the YAML files without composing them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from simclr_med.config.folders import CONF
from simclr_med.runs.names import SHOWN


def find_changes(cfg: DictConfig) -> dict[str, Any]:
    """Return the values of `SHOWN` that are not the defaults of the run's stage and options, by their keys.

    Args:
        cfg: resolved config.
    """
    folders = (CONF, *(Path(folder) for folder in cfg.paths.own))
    found = {}
    for key in SHOWN:
        group, _, name = key.partition(".")
        value = OmegaConf.select(cfg, key) if name else None
        usual = default_option(folders, cfg.stage.name, group)
        is_named = group in ("stage", "dataset") or f"{group}.name" in SHOWN  # else the name hides its option
        option = str(cfg[group].get("name")) if is_named else str(usual)
        default = usual if name == "name" else default_value(folders, group, option, name)
        if value is not None and value != default:
            found[key] = value
    return found


def default_option(folders: Sequence[Path], stage: str, group: str) -> str | None:
    """Return the option of a group that a stage selects, or else conf/config.yaml; None where neither selects one."""
    for path in (*_files(folders, "stage", stage), CONF / "config.yaml"):
        for entry in _read(path).get("defaults") or ():
            for name in (f"override /{group}", group) if isinstance(entry, dict) else ():
                if name in entry:
                    return str(entry[name])
    return None


def default_value(folders: Sequence[Path], group: str, option: str, key: str) -> Any:
    """Return the value that the YAML of an option gives to one of its keys, or None."""
    for path in _files(folders, group, option):
        content = _read(path)
        node = content.get("stage") if group == "stage" else content
        if isinstance(node, dict) and key in node:
            return node[key]
    return None


def _files(folders: Sequence[Path], group: str, option: str) -> Iterator[Path]:
    """Yield the YAML file of an option, then those of the options that it extends, the nearest first."""
    path = next((file for folder in folders if (file := folder / group / f"{option}.yaml").is_file()), None)
    if path is None:
        return
    yield path
    for entry in reversed(_read(path).get("defaults") or ()):
        base = entry.partition("@")[0] if isinstance(entry, str) else "_self_"
        if base != "_self_" and not base.startswith("/") and base != option:
            yield from _files(folders, group, base)


@cache
def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
