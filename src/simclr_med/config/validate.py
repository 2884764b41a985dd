"""Check a composed config, report every problem at once, and make it a typed object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationToMissingValueError, OmegaConfBaseException

from simclr_med.config.bounds import expected_value
from simclr_med.config.data_nodes import UntypedDataset
from simclr_med.config.nodes import Untyped, defaults
from simclr_med.config.rules import PATH_GROUPS, broken_rules, use_default
from simclr_med.config.schema import Config, Schema
from simclr_med.config.stage_kinds import Stage, UntypedStage
from simclr_med.config.targets import unlisted_targets
from simclr_med.errors import ConfigError

UNTYPED: dict[str, type[Untyped]] = {"dataset": UntypedDataset, "stage": UntypedStage}
# What an option without a type has to state. The names of the others are used nowhere.
NEEDED = {
    **dict.fromkeys(("stage", *PATH_GROUPS), ("name", "_target_")),
    **dict.fromkeys(("optimizer", "schedule"), ("_target_",)),
}


def find_problems(cfg: DictConfig, overrides: Sequence[str] = ()) -> list[str]:
    """Return one sentence for each broken rule; an empty list for a valid config.

    Args:
        cfg: as composed.
        overrides: ``key=value`` of a command for this run alone; those of a sweep are for several stages together.
    """
    return _check(cfg, overrides)[0]


def validate_config(cfg: DictConfig, overrides: Sequence[str] = ()) -> Config[Any]:
    """Check a config and return it resolved, typed and frozen.

    Args:
        cfg, overrides: as in `find_problems`.

    Raises:
        ConfigError: with every problem found.
    """
    found, typed = _check(cfg, overrides)
    if found or typed is None:
        raise ConfigError(*found)
    return typed


def _check(cfg: DictConfig, overrides: Sequence[str]) -> tuple[list[str], Config[Any] | None]:
    """Return the broken rules and the typed config, whose making takes most of the time; None where it has no types."""
    found = [*_unknown(cfg), *_without_target(cfg), *_without_value(cfg)]
    if found:
        return found, None
    typed = _typed_config(cfg)
    if not typed.allow_code and (found := list(unlisted_targets(_plain(typed)))):
        return found, typed
    return [*_unread(typed, overrides), *_bounds(cfg), *broken_rules(typed)], typed


def _typed_config(cfg: DictConfig) -> Config[Any]:
    """The config as an object of its nodes' types; a group without a type becomes an `Untyped` option."""
    content: Any = OmegaConf.to_container(cfg, resolve=True)
    if not _is_typed(cfg.stage):
        content["stage"] = {**defaults(Stage), **content["stage"]}  # what a run's identity reads of every stage
    values = {item.name: _typed(cfg, item.name, content[item.name]) for item in fields(Schema)}
    for group, value in values.items():
        if isinstance(value, dict):
            values[group] = UNTYPED.get(group, Untyped)(value)
    # A plain copy: a resolver may give a whole mapping, which the types would refuse.
    plain = OmegaConf.create(content)
    OmegaConf.set_readonly(plain, True)
    return Config(**values, plain=plain)


def _plain(typed: Config[Any]) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(typed.plain)
    return dict(content)


def _is_typed(node: Any) -> bool:
    return is_dataclass(OmegaConf.get_type(node))


def _typed(parent: DictConfig, key: str, content: Any) -> Any:
    """The value of a key: an object of its node's type, or the plain content where there is no type."""
    child = parent[key]
    if not isinstance(child, DictConfig) or not _is_typed(child):
        return content
    kind = OmegaConf.get_type(child)
    assert kind is not None
    return kind(**{item.name: _typed(child, item.name, content[item.name]) for item in fields(kind)})


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unknown(cfg: DictConfig) -> Iterator[str]:
    """Keys that were added with + to a node whose type does not have them."""
    for key, node in _nodes(cfg, ""):
        kind = OmegaConf.get_type(node)
        if is_dataclass(kind):
            for extra in sorted(set(map(str, node)) - {item.name for item in fields(kind)}):
                full = f"{key}.{extra}" if key else extra
                yield f"+{full}={node[extra]}: unknown key. Remove it."


def _without_target(cfg: DictConfig) -> Iterator[str]:
    """Options of the user's own YAML that lack a key which every option of their group needs."""
    for group, needed in NEEDED.items():
        node = cfg[group]
        content: Any = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
        if any(content.get(key) is None for key in needed):
            expected = " and ".join(needed)
            yield f"{group}: expected a mapping with {expected}. Start its YAML from the defaults of an option."


def _without_value(cfg: DictConfig) -> Iterator[str]:
    """Required keys without a value, and interpolations that do not resolve."""
    found: dict[str, list[str]] = {}
    raw: dict[str, str] = {}
    for key, node in _nodes(cfg, ""):
        for child in node:
            full = f"{key}.{child!s}" if key else str(child)
            if OmegaConf.is_missing(node, child):
                found[full] = [f"{full}=???: a value is required. Add {full}=... to the command line."]
                continue
            try:
                node[child]
            except InterpolationToMissingValueError:
                continue  # reported for the key that has no value
            except OmegaConfBaseException as error:
                raw[full] = str(node._get_node(child)._value())
                lost = re.search(r"'(.*)' not found", str(error)) if isinstance(error, InterpolationKeyError) else None
                if lost is not None and f"${{{lost[1]}}}" not in raw[full]:
                    continue  # reported for the key whose own text names the missing key
                # Our own error, raised inside a resolver, is clearer than the one that OmegaConf wraps it in.
                ours = [cause for cause in error_chain(error) if isinstance(cause, ConfigError)]
                found[full] = list(ours[0].problems) if ours else [f"{full}={raw[full]}: {_unresolved(error)}"]
    # A key that refers to another key of this list is not reported. If all refer to each other, the first one is.
    first = {
        full: problems
        for full, problems in found.items()
        if not any(f"${{{other}}}" in raw.get(full, "") for other in found if other != full)
    }
    reported = first or dict(list(found.items())[:1])
    yield from sorted({problem for problems in reported.values() for problem in problems})


def _unresolved(error: OmegaConfBaseException) -> str:
    """Return why an interpolation has no value, and what to do."""
    message = str(error).splitlines()[0]
    if isinstance(error, InterpolationKeyError):
        return "the config has no such key. Correct the name inside ${...}."
    if "Recursive interpolation" in message:
        return "refers to itself. Give a value."
    if variable := re.search(r"Environment variable '(.*)' not found", message):
        return f"the environment variable {variable[1]} is not set. Set it, or give a value."
    if resolver := re.search(r"Unsupported interpolation type (\S+)", message):
        return f"there is no resolver {resolver[1]}. Correct the name inside ${{...}}."
    if "could not be converted" in message:
        return "refers to a value of another type. Change the name inside ${...}."
    return f"cannot be resolved ({message}). Change the value."


def _nodes(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(full key, container node) of every dict node, depth first."""
    if isinstance(node, DictConfig) and not node._is_none():
        yield key, node
        for child in node:
            if isinstance(raw := node._get_node(child), DictConfig):
                yield from _nodes(raw, f"{key}.{child!s}" if key else str(child))


def _unread(cfg: Config[Stage], overrides: Sequence[str]) -> Iterator[str]:
    """Overrides of a group or key that the stage does not use."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        group = re.split(r"[.@]", key, maxsplit=1)[0]
        if why := cfg.stage.reason_unread(group) or cfg.stage.reason_unread(key):
            yield f"{override}: not used by stage={cfg.stage.name} ({why}). Remove it."


def _bounds(cfg: DictConfig) -> Iterator[str]:
    for key, node in _nodes(cfg, ""):
        kind = OmegaConf.get_type(node)
        if not is_dataclass(kind):
            continue
        for item in fields(kind):
            if OmegaConf.is_interpolation(node, item.name):
                continue  # reported for the key that the value comes from
            value = node[item.name]
            if expected := expected_value(value, item):
                full = f"{key}.{item.name}" if key else item.name
                remedy = "Give a value." if value == "" else use_default(full)
                yield f"{full}={value}: expected {expected}. {remedy}"
