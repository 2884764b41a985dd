"""The words of a command line before Hydra reads them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from simclr_med.errors import ConfigError

# Hydra's flags (hydra.cc, "Hydra's command line flags"); a set holds the values that one takes, None any value.
_ALONE = {"--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--shell-completion", "-sc"}
_SWEEPS = {"--multirun", "-m"}
_JOBS = {"job", "hydra", "all"}
_VALUED: dict[str, set[str] | None] = {
    **dict.fromkeys(("--cfg", "-c"), _JOBS),
    **dict.fromkeys(("--package", "-p", "--config-path", "-cp", "--config-name", "-cn"), None),
    **dict.fromkeys(("--config-dir", "-cd", "--experimental-rerun"), None),
}


class CommandLine(NamedTuple):
    """A command line taken apart.

    Attributes:
        flags: Hydra's own, each value beside its flag.
        overrides: the ``key=value`` words, readable by Hydra.
        extra: the value of --config-dir, or None.
    """

    flags: list[str]
    overrides: list[str]
    extra: str | None

    @property
    def sweep(self) -> bool:
        return not _SWEEPS.isdisjoint(self.flags) or any(word.startswith("grid=") for word in self.overrides)


def parse_argv(argv: list[str]) -> CommandLine:
    """Take a command line apart. Flags may stand anywhere; Hydra itself reads no key behind one that follows a key.

    Raises:
        ConfigError: an unknown flag, one without its value, or bytes that are no text.
    """
    flags: list[str] = []
    overrides: list[str] = []
    extra = None
    rest = iter(argv)
    for word in rest:
        shown = word.encode("utf-8", "backslashreplace").decode()
        if shown != word:
            raise ConfigError(f"{shown}: must be text in UTF-8. Set LANG=C.UTF-8, or rename the file.")
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            overrides.append(quote_for_hydra(word))
        elif word in _ALONE | _SWEEPS:
            flags.append(word)
        elif flag in ("--info", "-i"):
            flags.append(word if equals else f"{flag}=all")
        elif flag in _VALUED:
            value = value if equals else next(rest, "")
            _check(flag, value)
            flags += [flag, value]
            extra = value if flag in ("--config-dir", "-cd") else extra
        else:
            raise ConfigError(
                f"{word}: must be a flag that simclr-med has. Keys go without dashes, as stage.epochs=10; "
                "simclr-med --help says more."
            )
    return CommandLine(flags, overrides, extra)


def as_sweep_axes(overrides: list[str]) -> list[str]:
    """The overrides of a sweep, those of single keys as an axis of one value.

    Hydra composes the config once without the sweep's axes, where ``stage.patience=5`` would fail for want of the
    ``stage=finetune,baseline`` beside it. What the sweep itself needs, its folder, stays as it is.
    """
    return [_axis(word) for word in overrides]


def job_overrides(beginning: str) -> list[str]:
    """The words of this job (of a sweep: of its cell) of one key, or of all keys that begin so when it ends in a dot,
    as they can be pasted into a shell. None outside of a job."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    pairs = [word.partition("=")[::2] for word in words]
    dotted = beginning.endswith(".")
    return [
        quote_for_shell(key, value)
        for key, value in pairs
        if key == beginning or (dotted and key.startswith(beginning))
    ]


def quote_for_shell(key: str, value: str) -> str:
    """``key=value`` for a shell; the quotes that `readable` set are left out, for it sets them again."""
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
    if not value:
        raise ConfigError(f"{flag}: must have a value. Add it behind the flag.")
    if choices is not None and value not in choices:
        raise ConfigError(f"{flag} {value}: must be one of {', '.join(sorted(choices))}. Change the value.")
    if flag in ("--config-dir", "-cd") and not Path(value).is_dir():
        raise ConfigError(f"{flag} {value}: must be a folder with YAML of yours. Check the path.")


def quote_for_hydra(word: str) -> str:
    """The word itself, or with its value in quotes where Hydra's grammar would not read it as it is meant.

    So ``dataset.path=/data/Mäuse (2)`` needs no second pair of quotes inside the shell's, and a path with a comma is
    that path when it exists.
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
    except (OSError, RuntimeError, ValueError):  # no name that this system could have
        return False


def _parsed(word: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None
