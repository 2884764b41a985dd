"""Hydra's and OmegaConf's complaints in our own words: one line for each override that is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import UnsupportedValueType, ValidationError
from yaml import MarkedYAMLError

from simclr_med.cli.arguments import CommandLine
from simclr_med.config.validate import error_chain, find_problems
from simclr_med.errors import ConfigError

# What stands beside a group's options and says more than its list.
OTHERWISE = {
    "data_fraction": "Any other budget: data_fraction.samples=, .percent= or .per_class=.",
    "hydra/launcher": "joblib and slurm come with pip install 'simclr-med[slurm]'.",
}


def explain_errors(typed: CommandLine, conf: Path) -> list[str]:
    """Every problem of a command line that does not compose, found by adding its overrides one at a time.

    Args:
        typed: the command line.
        conf: the folder of the configuration.
    """
    found: list[str] = []
    kept = [] if typed.extra is None else [f"hydra.searchpath=['file://{Path(typed.extra).absolute()}']"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3", job_name="simclr_med"):
        # Options of groups first: which keys exist depends on them.
        for word in sorted(typed.overrides, key=lambda word: "." in word.split("=")[0]):
            try:
                cases = list(_cases(word))
            except HydraException:
                found.append(f"{word}: must be <key>=<value>. Put a value with special letters into quotes.")
                continue
            if len(cases) > 1 and not typed.sweep:
                found.append(f"{word}: must be one value. Add -m to run each of them in turn.")
                continue
            told = [message for case in cases if (message := _problem(case, kept))]
            found += told
            if not told:
                kept.append(cases[0])
        try:
            told_of = {message.split("=")[0] for message in found}
            found += [more for more in find_problems(compose("config", kept)) if more.split("=")[0] not in told_of]
        except Exception as error:
            found += [] if found else [first_line(error)]
    return [" ".join(message.splitlines()).strip() for message in dict.fromkeys(found)]


def _cases(word: str) -> Iterator[str]:
    """The override itself, or one for each value of a sweep."""
    override: Override = OverridesParser.create().parse_override(word)
    if override.is_sweep_override():
        for value in override.sweep_string_iterator():
            yield f"{override.get_key_element()}={value}"
    else:
        yield word


def _problem(word: str, kept: list[str]) -> str | None:
    try:
        compose("config", [*kept, word])
    except Exception as error:  # as in main: Hydra's and YAML's errors are of many kinds
        return _sentence(word, error, kept)
    return None


def _sentence(word: str, error: Exception, kept: list[str]) -> str:
    key = word.split("=")[0].lstrip("+~")
    causes = list(error_chain(error))
    for cause in causes:
        if isinstance(cause, ConfigError):
            return cause.problems[0]
    for cause in causes:
        if isinstance(cause, MarkedYAMLError) and cause.problem_mark is not None:
            mark = cause.problem_mark
            return f"{mark.name}: must be YAML ({cause.problem}, line {mark.line + 1}). Correct the file."
    place = re.match(r"In '([^']+)': ", str(error))
    if place and place[1] != "config":  # of which the command line is a part
        return _inside(place[1], error, causes)
    for cause in causes:
        if isinstance(cause, (ValidationError, UnsupportedValueType)):
            return f"{word}: must be {_kind(str(cause))}. Change the value."
    if word.startswith("~"):
        return f"{word}: must stay, as every key. Leave this out."
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _no_option(word, error)
    if "Could not override" in str(error) or "Key" in str(error) or "not in" in str(error):
        known = list(_keys(compose("config", kept)))
        if key in known:
            return f"{word}: must be a value that {key} can have. Change the value."
        return f"{word}: must be a known key. {_nearest_key(key, known)}"
    if isinstance(error, UnicodeDecodeError):
        return f"{word}: must be a YAML file in UTF-8. Save it again in this encoding."
    return f"{word}: must be something that Hydra can compose. Change the value."


def _inside(place: str, error: Exception, causes: list[BaseException]) -> str:
    """A mistake in a YAML, which is one of the user's own."""
    file = f"{place}.yaml"
    if isinstance(error, MissingConfigException):
        missing = str(error.missing_cfg_file or "").split("/")[-1]
        return f"{file}: must have defaults that exist, not {missing}. {_nearest(missing, error.options or ())}"
    unknown = re.search(r"Key '([^']+)' not in", str(error))
    if unknown:
        return f"{file}: must have known keys alone, not {unknown[1]}. Leave it out."
    for cause in causes:
        key = re.search(r"full_key: (\S+)", str(cause))
        if isinstance(cause, (ValidationError, UnsupportedValueType)) and key:
            return f"{file}: {key[1]} must be {_kind(str(cause))}. Change the value."
    return f"{file}: must be something that Hydra can compose ({first_line(error)}). Correct the file."


def _no_option(word: str, error: MissingConfigException) -> str:
    """A value that a group does not have."""
    key, _, value = word.partition("=")
    options = list(error.options or ())
    if not options:
        return f"{word}: must be left out, for there is no option of this group yet."
    remedy = _nearest(value, options) or OTHERWISE.get(key, "Choose one of them.")
    return f"{word}: must be one of {', '.join(options)}. {remedy}"


def _kind(message: str) -> str:
    """The type that OmegaConf wanted, in words."""
    if "is not Optional" in message:
        return "given, not null"
    if "is not a ListConfig" in message:
        return "a list, in brackets: [a,b]"
    wanted = re.search(r"to (Integer|Float|String)|not a valid (bool)", message)
    words = {"Integer": "a whole number", "Float": "a number", "bool": "true or false", "String": "a text"}
    return words[wanted[1] or wanted[2]] if wanted else f"of the right type ({first_line(message)})"


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def _nearest_key(key: str, known: list[str]) -> str:
    """The likeliest key: a misspelt one of the same group, or one of this name in another group."""
    parent, _, last = key.rpartition(".")
    beside = [name for name in known if name.rpartition(".")[0] == parent]
    near = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in beside], n=1, cutoff=0.6)
    if near:
        return f"Did you mean {parent}.{near[0]}?" if parent else f"Did you mean {near[0]}?"
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    if elsewhere:
        return f"Did you mean {elsewhere[0]}?"
    if beside and parent:
        return f"There are {', '.join(name for name in beside if not name.endswith('_'))}."
    return _nearest(key, known) or "See simclr-med --cfg job."


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in cfg:
        yield f"{prefix}{key!s}"
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not OmegaConf.is_missing(cfg, key):
            yield from _keys(node, f"{prefix}{key!s}.")


def first_line(error: object) -> str:
    """The first line of an error's own words, or its kind when it has none."""
    lines = str(error).replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception", "").strip().splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__
