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
from omegaconf.errors import OmegaConfBaseException, UnsupportedValueType, ValidationError

from simclr_med.config.validate import problems
from simclr_med.errors import ConfigError

COMPOSING = (HydraException, OmegaConfBaseException, ConfigError)


def explained(overrides: list[str], conf: Path, extra: str | None) -> list[str]:
    """Every problem of a command line that does not compose, found by adding its overrides one at a time.

    Args:
        overrides: the command line's ``key=value`` words.
        conf: the folder of the configuration.
        extra: the user's own folder (--config-dir), or None.
    """
    found: list[str] = []
    kept = [] if extra is None else [f"hydra.searchpath=[file://{Path(extra).absolute()}]"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3", job_name="simclr_med"):
        # Options of groups first: which keys exist depends on them.
        for word in sorted(overrides, key=lambda word: "." in word.split("=")[0]):
            try:
                cases = list(_cases(word))
            except HydraException:
                found.append(f"{word}: must be <key>=<value>. Put a value with special letters into quotes.")
                continue
            told = [message for case in cases if (message := _problem(case, kept))]
            found += told
            if not told:
                kept.append(cases[0])
        try:
            found += problems(compose("config", kept))
        except COMPOSING as error:
            found += [] if found else [_first_line(error)]
    return list(dict.fromkeys(found))


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
    except COMPOSING as error:
        return _sentence(word, error, kept)
    return None


def _sentence(word: str, error: Exception, kept: list[str]) -> str:
    key = word.split("=")[0].lstrip("+~")
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, ConfigError):
            return cause.problems[0]
    for cause in causes:
        if isinstance(cause, (ValidationError, UnsupportedValueType)):
            return f"{word}: must be {_kind(str(cause))}. Change the value."
    if isinstance(error, MissingConfigException) and error.options is not None:
        # Typed nodes stand beside the options; nobody chooses them.
        value = word.split("=", 1)[1]
        return f"{word}: must be one of {', '.join(error.options)}. {_nearest(value, error.options)}"
    if "Could not override" in str(error) or "Key" in str(error) or "not in" in str(error):
        known = list(_keys(compose("config", kept)))
        return f"{word}: must be a known key. {_nearest(key, known) or 'See simclr-med --cfg job.'}"
    return f"{word}: {_first_line(error)}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _kind(message: str) -> str:
    """The type that OmegaConf wanted, in words."""
    wanted = re.search(r"to (Integer|Float|String)|not a valid (bool)", message)
    words = {"Integer": "a whole number", "Float": "a number", "bool": "true or false", "String": "a text"}
    return words[wanted[1] or wanted[2]] if wanted else f"of the right type ({_first_line(message)})"


def _nearest(word: str, known: Iterable[str]) -> str:
    # A key under the wrong parent is as likely as a misspelt one.
    known = list(known)
    by_last = [name for name in known if name.split(".")[-1] == word.split(".")[-1]]
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or by_last[:1]
    return f"Did you mean {near[0]}?" if near else ""


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in cfg:
        yield f"{prefix}{key!s}"
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not OmegaConf.is_missing(cfg, key):
            yield from _keys(node, f"{prefix}{key!s}.")


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
