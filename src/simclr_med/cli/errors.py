"""The wording of Hydra's and OmegaConf's errors: one line for each override that is wrong."""

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
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, UnsupportedValueType, ValidationError
from yaml import MarkedYAMLError

from simclr_med.cli.arguments import CommandLine
from simclr_med.cli.failures import as_line, first_line
from simclr_med.config.folders import list_options
from simclr_med.config.validate import error_chain, find_problems
from simclr_med.errors import ConfigError

# What a group offers besides its options.
ALTERNATIVES = {
    "data_fraction": "For any other budget set data_fraction.samples=, .percent= or .per_class=.",
    "hydra/launcher": "Install joblib and slurm with pip install 'simclr-med[slurm]'.",
}
# The types that OmegaConf converts to.
EXPECTED = {"Integer": "an integer", "Float": "a number", "bool": "true or false", "String": "text", "string": "text"}


def explain_errors(command: CommandLine, conf: Path) -> list[str]:
    """Return every problem of a command line that does not compose. Adds the overrides one at a time.

    Args:
        command: the command line.
        conf: folder of the configuration.
    """
    found: list[str] = []
    added = [] if command.config_dir is None else [f"hydra.searchpath=['file://{Path(command.config_dir).absolute()}']"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3", job_name="simclr_med"):
        # Options of groups come first, because they decide which keys exist.
        for override in sorted(command.overrides, key=lambda word: "." in word.split("=")[0]):
            problems, accepted = _check_override(override, added, command.is_sweep, conf)
            found += problems
            added += accepted
        found += _problems_of_whole(added, found)
    return list(map(as_line, dict.fromkeys(found)))


def _check_override(override: str, added: list[str], is_sweep: bool, conf: Path) -> tuple[list[str], list[str]]:
    """Return (problems, overrides to keep) of one override, added to those before it."""
    try:
        values = list(_split_axis(override))
    except HydraException:
        return [f"{override}: not of the form <key>=<value>. Put a value with special characters into quotes."], []
    if len(values) > 1 and not is_sweep:
        return [f"{override}: several values outside a sweep. Add -m to run one job for each."], []
    problems = [problem for value in values if (problem := _compose_problem(value, added, conf))]
    return problems, [] if problems else values[:1]


def _problems_of_whole(added: list[str], found: list[str]) -> list[str]:
    """Return the problems of all overrides together, of keys without one so far."""
    keys = {message.split("=")[0] for message in found}
    try:
        return [problem for problem in find_problems(compose("config", added)) if problem.split("=")[0] not in keys]
    except Exception as error:
        return [] if found else [first_line(error)]


def _split_axis(word: str) -> Iterator[str]:
    """Yield the override itself, or one override for each value of a sweep."""
    override: Override = OverridesParser.create().parse_override(word)
    if override.is_sweep_override():
        for value in override.sweep_string_iterator():
            yield f"{override.get_key_element()}={value}"
    else:
        yield word


def _compose_problem(override: str, added: list[str], conf: Path) -> str | None:
    """Return what is wrong with an override, or None."""
    try:
        compose("config", [*added, override])
    except Exception as error:  # Hydra, OmegaConf and YAML raise errors of many kinds
        causes = list(error_chain(error))
        return (
            _config_error(causes)
            or _yaml_error(causes)
            or _grammar_error(override, causes)
            or _error_in_file(override, error, causes)
            or _wrong_container(override, added, conf)
            or _wrong_type(override, causes)
            or _wrong_key(override, error, added, conf)
        )
    return None


def _config_error(causes: list[BaseException]) -> str | None:
    """Return the message of an error of ours, raised while Hydra composed."""
    return next((cause.problems[0] for cause in causes if isinstance(cause, ConfigError)), None)


def _yaml_error(causes: list[BaseException]) -> str | None:
    for cause in causes:
        if isinstance(cause, MarkedYAMLError) and cause.problem_mark is not None:
            mark = cause.problem_mark
            return f"{mark.name}: not valid YAML ({cause.problem}, line {mark.line + 1}). Correct the file."
    return None


def _grammar_error(override: str, causes: list[BaseException]) -> str | None:
    if any(isinstance(cause, GrammarParseError) for cause in causes):
        return f"{override}: not a valid interpolation. Correct the text after the dollar sign."
    return None


def _error_in_file(override: str, error: Exception, causes: list[BaseException]) -> str | None:
    """Return what is wrong in a YAML file, usually one of the user's own."""
    place = re.match(r"In '([^']+)': ", str(error))
    if place is None or place[1] in ("config", "hydra/config"):  # these include the command line
        return None
    file = f"{place[1]}.yaml"
    if isinstance(error, MissingConfigException):
        missing = str(error.missing_cfg_file or "").split("/")[-1]
        remedy = _suggest(missing, error.options or ()) or "Correct the name."
        return f"{file}: unknown option {missing} in defaults. {remedy}"
    unknown = re.search(r"Key '([^']+)' not in", str(error))
    if unknown:
        return f"{file}: unknown key {unknown[1]}. Remove it, or leave out {override}."
    for cause in causes:
        key = re.search(r"full_key: (\S+)", str(cause))
        if isinstance(cause, (ValidationError, UnsupportedValueType)) and key:
            return f"{file}: {key[1]}: {_expected(str(cause))}. Change the value."
    return f"{file}: Hydra cannot compose it ({first_line(error)}). Correct the file."


def _wrong_container(override: str, added: list[str], conf: Path) -> str | None:
    """Return what a key that holds a list or a mapping expects, when the override gives it anything else."""
    parsed = OverridesParser.create().parse_override(override)
    value, key = parsed.value(), parsed.get_key_element().lstrip("+~")
    node = OmegaConf.select(compose("config", added), key, throw_on_missing=False, throw_on_resolution_failure=False)
    if isinstance(node, ListConfig) and value is not None and not isinstance(value, list):
        return f"{override}: expected a list in brackets: [a,b]. Change the value."
    is_group = (conf / key).is_dir() and not isinstance(value, dict)  # it expects the name of an option
    if not isinstance(node, DictConfig) or value is None or is_group:
        return None
    known = ", ".join(f"{key}.{name}" for name in map(str, node) if not name.endswith("_")) or "none"
    if not isinstance(value, dict):
        return f"{override}: expected a mapping. Set one of its keys: {known}."
    unknown = [f"{key}.{name!s}" for name in value if name not in node]
    return f"{override}: unknown key {unknown[0]}. Known keys: {known}." if unknown else None


def _wrong_type(override: str, causes: list[BaseException]) -> str | None:
    for cause in causes:
        if isinstance(cause, (ValidationError, UnsupportedValueType)):
            return f"{override}: {_expected(str(cause))}. Change the value."
    return None


def _wrong_key(override: str, error: Exception, added: list[str], conf: Path) -> str:
    """Return what is wrong with an override that names a key, group or option that does not exist."""
    key = override.split("=")[0].lstrip("+~")
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_option(override, error)
    if "Could not override" in str(error) or "Key" in str(error) or "not in" in str(error):
        known = list(_keys(compose("config", added)))
        if key in known:
            return f"{override}: a {'mapping' if '{' in override else 'list'} is not allowed. Change the value."
        return f"{override}: unknown key. {_suggest_key(key, known, conf)}"
    if "Error merging override" in str(error):
        return f"{override}: a {'mapping' if '{' in override else 'list'} is not allowed. Change the value."
    if "Multiple values for" in str(error):
        return f"{override}: the config has this group already. Write {override.lstrip('+')}."
    if isinstance(error, RecursionError):
        return f"{override}: its YAML file refers to itself, or is nested too deeply. Correct the file."
    if "Config group override must be" in str(error):
        options = ", ".join(list_options([conf], key))
        remedy = f"Choose one of {options}." if options else "Remove this override."
        return f"{override}: expected the name of an option. {remedy}"
    if isinstance(error, UnicodeDecodeError):
        return f"{override}: the YAML file is not UTF-8. Save it in this encoding."
    return f"{override}: Hydra cannot compose it ({first_line(error)}). Change the value."


def _unknown_option(override: str, error: MissingConfigException) -> str:
    """Return the message for an option that a group does not have."""
    group, _, option = override.partition("=")
    options = list(error.options or ())
    if not options:
        return f"{override}: this group has no options. Remove this override."
    suggestion = _suggest(option, options)
    if suggestion:
        return f"{override}: unknown option. {suggestion}"
    return f"{override}: unknown option. Choose one of {', '.join(options)}. {ALTERNATIVES.get(group, '')}".strip()


def _expected(message: str) -> str:
    """Return the type that OmegaConf expected."""
    if "is not Optional" in message or "NoneType is not a subclass" in message:
        return "null is not allowed"
    if "is not a ListConfig" in message:
        return "expected a list in brackets: [a,b]"
    expected = re.search(r"to (Integer|Float|String|string)|not a valid (bool)", message)
    if expected:
        return f"expected {EXPECTED[expected[1] or expected[2]]}"
    return f"wrong type ({first_line(message)})"


def _suggest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def _suggest_key(key: str, known: list[str], conf: Path) -> str:
    """Return the likeliest key: one of the same group with a similar name, or one of this name elsewhere."""
    parent, _, last = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    near = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in siblings], n=1, cutoff=0.6)
    if near:
        return f"Did you mean {parent}.{near[0]}?" if parent else f"Did you mean {near[0]}?"
    owners = [path.stem for path in sorted((conf / parent).glob("*.yaml")) if _sets_key(path, last)] if parent else []
    if len(owners) == 1:
        return f"It needs {parent}={owners[0]}. Add that, or remove this key."
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    if elsewhere:
        return f"Did you mean {elsewhere[0]}?"
    if siblings and parent:
        return f"Known keys: {', '.join(name for name in siblings if not name.endswith('_'))}."
    return _suggest(key, known) or "List all keys with simclr-med --cfg job."


def _sets_key(path: Path, key: str) -> bool:
    """Whether an option's YAML sets a key at its top level."""
    return re.search(rf"^{re.escape(key)}:", path.read_text(encoding="utf-8"), flags=re.MULTILINE) is not None


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the full name of every key of a config."""
    for key in cfg:
        yield f"{prefix}{key!s}"
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not OmegaConf.is_missing(cfg, key):
            yield from _keys(node, f"{prefix}{key!s}.")
