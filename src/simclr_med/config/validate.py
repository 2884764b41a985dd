"""Every rule that a composed config must keep, told all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationToMissingValueError, OmegaConfBaseException

from simclr_med.errors import ConfigError
from simclr_med.runs.identity import NAMED, slug

# Groups whose options need a name and a target.
NAMED_OPTIONS = (*NAMED, "init")


def find_problems(cfg: DictConfig, words: Sequence[str] = ()) -> list[str]:
    """One sentence for each broken rule; an empty list for a good config.

    Args:
        cfg: as composed.
        words: ``key=value`` of a command for this run alone; those of a sweep are for several stages together.
    """
    found = [*_unknown(cfg), *_without_target(cfg), *_without_value(cfg)]
    return found or [*_unread(cfg, words), *_bounds(cfg), *_cross(cfg)]


def validate_config(cfg: DictConfig, words: Sequence[str] = ()) -> DictConfig:
    """The config, resolved and read-only.

    Args:
        cfg, words: as of `problems`.

    Raises:
        ConfigError: with every problem found.
    """
    found = find_problems(cfg, words)
    if found:
        raise ConfigError(*found)
    # A plain copy: the types have done their work, and a resolver may give a whole mapping, which they would refuse.
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    OmegaConf.set_readonly(resolved, True)
    return cast(DictConfig, resolved)


def error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unknown(cfg: DictConfig) -> Iterator[str]:
    """Keys that were added with + where a type says which ones there are."""
    for key, node in _nodes(cfg, ""):
        kind = OmegaConf.get_type(node)
        if is_dataclass(kind):
            for extra in sorted(set(map(str, node)) - {item.name for item in fields(kind)}):
                full = f"{key}.{extra}" if key else extra
                yield f"+{full}={node[extra]}: must be a known key. Leave it out."


def _without_target(cfg: DictConfig) -> Iterator[str]:
    """Options, of YAML of the user's own, that lack what every option has."""
    for group in NAMED_OPTIONS:
        node = cfg[group]
        if not isinstance(node, DictConfig) or not {"name", "_target_"} <= set(node):
            yield f"{group}: must be a mapping with name and _target_. Begin its YAML with the defaults of an option."


def _without_value(cfg: DictConfig) -> Iterator[str]:
    """Keys that must be given and are not, and interpolations that lead nowhere."""
    told: set[str] = set()
    for key, node in _nodes(cfg, ""):
        for child in node:
            full = f"{key}.{child!s}" if key else str(child)
            if OmegaConf.is_missing(node, child):
                told.add(f"{full}=???: must be given. Add {full}=... to the command line.")
                continue
            try:
                node[child]
            except InterpolationToMissingValueError:
                continue  # told for the key that it waits for
            except InterpolationKeyError as error:
                lost = re.search(r"'(.*)' not found", str(error))
                raw = str(node._get_node(child)._value())
                if lost is None or f"${{{lost[1]}}}" in raw:  # else told for the key that it takes its value from
                    told.add(f"{full}={raw}: must have a key of the config inside ${{...}}. Correct or rename it.")
            except OmegaConfBaseException as error:
                # Ours, raised inside a resolver, says more than OmegaConf's around it.
                ours = [cause for cause in error_chain(error) if isinstance(cause, ConfigError)]
                told.update(ours[0].problems if ours else (f"{full}: {str(error).splitlines()[0]}",))
    yield from sorted(told)


def _nodes(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(full key, container node) of every dict node, depth first."""
    if isinstance(node, DictConfig) and not node._is_none():
        yield key, node
        for child in node:
            if isinstance(raw := node._get_node(child), DictConfig):
                yield from _nodes(raw, f"{key}.{child!s}" if key else str(child))


def _unread(cfg: DictConfig, words: Sequence[str]) -> Iterator[str]:
    """Words about a group that the stage does not look at."""
    for word in words:
        group = re.split(r"[.@=]", word.lstrip("+~"), maxsplit=1)[0]
        if why := cfg.stage.get("unread", {}).get(group):
            yield f"{word}: must be left out with stage={cfg.stage.name}: {why}. Leave it out."


def _bounds(cfg: DictConfig) -> Iterator[str]:
    for key, node in _nodes(cfg, ""):
        kind = OmegaConf.get_type(node)
        if not is_dataclass(kind):
            continue
        for item in fields(kind):
            if OmegaConf.is_interpolation(node, item.name):
                continue  # told for the key that it takes its value from
            rule = _rule(node[item.name], item.metadata)
            if rule:
                full = f"{key}.{item.name}" if key else item.name
                remedy = "Write a value." if node[item.name] == "" else _remedy(full)
                yield f"{full}={node[item.name]}: must be {rule}. {remedy}"


def _rule(value: Any, bounds: Mapping[str, Any]) -> str | None:
    """The rule in words when the value breaks it."""
    if value is None:
        return None
    if value == "":
        return "given, not empty"
    choices = bounds.get("choices")
    if choices is not None and value not in choices:
        return f"one of {', '.join(map(_quoted, choices))}"
    if not isinstance(value, (int, float)):
        return None
    if value != value or value in (float("inf"), float("-inf")):
        return "a finite number"
    low, high, open_low = bounds.get("low"), bounds.get("high"), bounds.get("open_low")
    broken = (
        (low is not None and value < low)
        or (high is not None and value > high)
        or (open_low is not None and value <= open_low)
    )
    if not broken:
        return None
    words = [f"at least {low}"] * (low is not None) + [f"greater than {open_low}"] * (open_low is not None)
    return " and ".join(words + [f"at most {high}"] * (high is not None))


def _quoted(choice: object) -> str:
    return f'"{choice}"' if "," in str(choice) else str(choice)


def _remedy(key: str) -> str:
    return f"Leave {key} out to use its default."


def _cross(cfg: DictConfig) -> Iterator[str]:
    """Rules that tie several keys together."""
    fraction = cfg.data_fraction
    budgets = [name for name in ("samples", "percent", "per_class") if fraction[name] is not None]
    if len(budgets) > 1:
        told = " ".join(f"data_fraction.{name}={fraction[name]}" for name in budgets)
        yield f"{told}: must be one budget alone. Keep one of them (data_fraction=full sets none)."
    if fraction.per_class is not None and fraction.strategy == "stratified":
        yield (
            "data_fraction.strategy=stratified: must be random with per_class, which is balanced by itself. "
            "Leave data_fraction.strategy out."
        )
    if 0 < cfg.schedule.get("warmup_epochs", 0) >= cfg.stage.get("epochs", float("inf")):
        yield (
            f"schedule.warmup_epochs={cfg.schedule.warmup_epochs}: must be less than stage.epochs={cfg.stage.epochs}. "
            "Lower it."
        )
    for group in NAMED_OPTIONS:
        name = cfg[group].name
        if name and name != slug(name):  # it becomes a part of paths
            yield f"{group}.name={name}: must be letters, digits, dots and dashes. Choose another, as {slug(name)}."
    if "datasets" in cfg.stage:
        if cfg.dataset.name != "synthetic":
            yield (
                f"dataset={cfg.dataset.name}: must be left out with stage=report, which reads runs and no data. Name "
                f"those to keep by stage.datasets=[{cfg.dataset.name}]."
            )
        for name in cfg.stage.datasets:
            if name != slug(name):
                yield f"stage.datasets={name}: must be the name of a folder of runs. Choose another, as {slug(name)}."
    val, test = (cfg.dataset.get(f"{split}_fraction", 0) for split in ("val", "test"))
    if val + test >= 1:
        yield (
            f"dataset.val_fraction={val} dataset.test_fraction={test}: must be less than 1 together. Leave some images "
            "to train on."
        )
    stage, devices = cfg.stage, cfg.trainer.devices
    if "accumulate" in stage and min(stage.batch_size - 1, stage.accumulate, devices) >= 1:  # else told by its bound
        if stage.batch_size % (stage.accumulate * devices):
            yield (
                f"stage.batch_size={stage.batch_size}: must be a multiple of stage.accumulate x trainer.devices "
                f"= {stage.accumulate} x {devices}. Choose another batch size."
            )
        elif stage.batch_size // (stage.accumulate * devices) < 2:
            yield (
                f"stage.batch_size={stage.batch_size}: must be such that two images are left for each micro-batch "
                f"of each process (stage.accumulate x trainer.devices = {stage.accumulate} x {devices}). Raise it."
            )
    known = stage.get("options", {})
    for name in stage.get("sequences", ()):
        if name not in known:
            yield f"stage.sequences={name}: must be among {', '.join(known)}. One of yours is shown by augmentation=."
    for value in stage.get("perplexities", ()):
        if not 1 <= value < float("inf"):
            yield f"stage.perplexities={value}: must be at least 1. {_remedy('stage.perplexities')}"
    if stage.get("run") is not None and cfg.init.name != "model":
        yield f"init={cfg.init.name}: must be model with stage.run, for the encoder is that run's. Add init=model."
    solver = stage.get("solvers", {}).get("lbfgs")
    if solver is not None and solver.lowest > solver.highest:
        yield (
            f"stage.solvers.lbfgs.lowest={solver.lowest}: must be at most highest={solver.highest}. Exchange the two."
        )
    for key in ("mean", "std"):
        values = cfg.encoder.get(key)
        if values is not None and (len(values) != 3 or (key == "std" and min(values) <= 0)):
            rule = "three numbers above 0" if key == "std" else "three numbers"
            yield f"encoder.{key}={list(values)}: must be {rule}, one for each of R, G, B. {_remedy(f'encoder.{key}')}"
