"""The command line before Hydra reads it: flags, overrides, and how to quote them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from simclr_med.config.folders import CONF
from simclr_med.errors import ConfigError

# Hydra's flags (hydra.cc, "Hydra's command line flags"), without --experimental-rerun, which runs code from a pickle. A
# set holds a flag's values; None allows any value.
_HELP = {"--help", "-h"}
_ALONE = {*_HELP, "--hydra-help", "--version", "--resolve", "--run", "-r", "--shell-completion", "-sc"}
_SWEEPS = {"--multirun", "-m"}
_JOBS = {"job", "hydra", "all"}
_VALUED: dict[str, set[str] | None] = {
    **dict.fromkeys(("--cfg", "-c"), _JOBS),
    **dict.fromkeys(("--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"), None),
}


class CommandLine(NamedTuple):
    """A parsed command line.

    Attributes:
        flags: Hydra's own flags, each followed by its value.
        overrides: ``key=value``, quoted for Hydra.
        config_dir: value of --config-dir, or None.
    """

    flags: list[str]
    overrides: list[str]
    config_dir: str | None

    @property
    def is_sweep(self) -> bool:
        return not _SWEEPS.isdisjoint(self.flags) or any(word.startswith("grid=") for word in self.overrides)

    @property
    def allows_code(self) -> bool:
        """Whether allow_code=true was typed. A YAML cannot set it."""
        typed = [value for key, _, value in (word.partition("=") for word in self.overrides) if key == "allow_code"]
        return bool(typed) and typed[-1].lower() in ("true", "yes", "on", "1")

    @property
    def own_folders(self) -> list[Path]:
        """The folders of the user's own options: --config-dir, and those of a typed hydra.searchpath."""
        places = [] if self.config_dir is None else [self.config_dir]
        for word in self.overrides:
            parsed = _parsed(word) if word.startswith("hydra.searchpath=") else None
            value = None if parsed is None else parsed.value()
            places += [str(place).removeprefix("file://") for place in value] if isinstance(value, list) else []
        return [Path(place) for place in places if not place.startswith("pkg://")]

    @property
    def wants_version(self) -> bool:
        return "--version" in self.flags

    @property
    def wants_help(self) -> bool:
        return not _HELP.isdisjoint(self.flags)


def parse_argv(argv: list[str]) -> CommandLine:
    """Parse a command line. Flags may stand anywhere; Hydra alone ignores overrides after a flag that follows one.

    Raises:
        ConfigError: an unknown flag, a flag without its value, or bytes that are not UTF-8.
    """
    flags: list[str] = []
    overrides: list[str] = []
    config_dir = None
    rest = iter(argv)
    for word in rest:
        shown = word.encode("utf-8", "backslashreplace").decode()
        if shown != word:
            raise ConfigError(f"{shown}: not UTF-8 text. Set LANG=C.UTF-8, or rename the file.")
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            _check_override(word)
            overrides.append(quote_for_hydra(word))
        elif word in _ALONE | _SWEEPS:
            flags.append(word)
        elif flag in ("--info", "-i"):
            flags.append(word if equals else f"{flag}=all")
        elif flag in _VALUED:
            value = value if equals else next(rest, "")
            _check(flag, value)
            flags += [flag, value]
            config_dir = value if flag in ("--config-dir", "-cd") else config_dir
        else:
            raise ConfigError(
                f"{word}: unknown flag. Write keys without dashes, for example stage.epochs=10. See simclr-med --help."
            )
    return CommandLine(flags, overrides, config_dir)


def as_sweep_axes(overrides: list[str]) -> list[str]:
    """Return the overrides of a sweep, with each single key turned into an axis of one value.

    Hydra composes the config once without the axes. There ``stage.patience=5`` would fail, because it needs the
    ``stage=finetune,baseline`` of the same sweep. Keys that the sweep itself needs (its folder) stay as they are.
    """
    return [_axis(override) for override in overrides]


def select_overrides(overrides: Sequence[str], prefix: str) -> list[str]:
    """Return the overrides of one key, or of all keys that start with a prefix ending in a dot, quoted for a shell."""
    pairs = [override.partition("=")[::2] for override in overrides]
    return [
        quote_for_shell(key, value)
        for key, value in pairs
        if key == prefix or (prefix.endswith(".") and key.startswith(prefix))
    ]


def quote_for_shell(key: str, value: str) -> str:
    """Return ``key=value`` quoted for a shell. Quotes that `quote_for_hydra` added are removed; it adds them again."""
    if len(value) > 1 and value[0] == value[-1] == "'" and quote_for_hydra(f"{key}={_bare(value)}") == f"{key}={value}":
        value = _bare(value)
    return f"{key}={shlex.quote(value)}"


def _bare(quoted: str) -> str:
    return quoted[1:-1].replace("\\'", "'").replace("\\\\", "\\")


def _axis(word: str) -> str:
    key, _, value = word.partition("=")
    parsed = _parsed(word)
    if "." not in key or key.lstrip("+").startswith(("hydra.", "paths.")) or parsed is None or not value:
        return word
    axis = f"{key}=choice({value})"
    return word if parsed.is_sweep_override() or _parsed(axis) is None else axis


def _check(flag: str, value: str) -> None:
    choices = _VALUED[flag]
    if not value or value.startswith("-"):
        raise ConfigError(f"{flag}: no value given. Add it after the flag.")
    if choices is not None and value not in choices:
        raise ConfigError(f"{flag} {value}: unknown value. Choose one of {', '.join(sorted(choices))}.")
    if flag in ("--config-dir", "-cd") and not Path(value).is_dir():
        raise ConfigError(f"{flag} {value}: there is no such folder. Check the path.")


def _check_override(word: str) -> None:
    """Refuse overrides that Hydra accepts although their effect is not what the user asked for.

    An override without a key replaces the whole config. A deleted key leaves interpolations that refer to it. An empty
    ``paths.runs`` puts a sweep's folder into the root of the disk. A list of a group's options merges them.

    Raises:
        ConfigError: one of these.
    """
    group, _, value = word.lstrip("+").partition("=")
    if not group:
        raise ConfigError(f"{word}: not of the form <key>=<value>. Write the key before the equals sign.")
    if word.startswith("~"):
        raise ConfigError(f"{word}: keys cannot be deleted. Remove this override.")
    if group.startswith("paths.") and value in ("", "''", '""'):
        raise ConfigError(f"{word}: expected a value, not an empty text. Give a value.")
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    if value.startswith("[") and group in groups:
        raise ConfigError(f"{word}: expected one option, found a list. Use -m {group}=a,b to run one job for each.")


def quote_for_hydra(word: str) -> str:
    """Return the override, with its value in quotes where Hydra's grammar would misread it.

    ``dataset.path=/data/Mäuse (2)`` then needs no second pair of quotes in the shell. A value with a comma is one path
    if that path exists.
    """
    key, equals, value = word.partition("=")
    parsed = _parsed(word)
    if not equals or (parsed is not None and not (parsed.is_sweep_override() and _exists(value))):
        return word
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    quoted = f"{key}='{escaped}'"
    return word if _parsed(quoted) is None else quoted


def _exists(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # not a valid path on this system
        return False


def _parsed(word: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None
    except (ValueError, RecursionError) as error:  # Python's own limits
        raise ConfigError(f"{word}: a number is too long, or brackets are nested too deeply. Correct it.") from error
