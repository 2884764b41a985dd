"""The words of a command line before Hydra reads them."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException


def readable(word: str) -> str:
    """The word itself, or with its value in quotes where Hydra's grammar could not read it otherwise.

    So ``dataset.path=/data/Mäuse (2)`` needs no second pair of quotes inside the shell's.
    """
    key, equals, value = word.partition("=")
    if word.startswith("-") or not equals or _parses(word):
        return word
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    quoted = f"{key}='{escaped}'"
    return quoted if _parses(quoted) else word


def _parses(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True
