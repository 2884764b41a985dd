"""Values of a record that somebody else may have written: each is checked for type and range where it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_NAME = 200  # characters
LONGEST_TEXT = 4096  # characters of a path
MOST_SHOWN = 60  # characters of a value in a message
MAX_INTEGER = 2**63 - 1
ROUNDING = 1e-9
# Control characters, line separators, marks that reverse the direction of text, and halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Fields:
    """A mapping of a record.

    Every method raises ValueError ``<field>=<value>: expected ...`` in one line where the value does not fit.

    Attributes:
        content: keys and values as they were read.
        name: full name of the mapping in its record; empty for the record itself.
    """

    content: Mapping[str, Any]
    name: str = ""

    @classmethod
    def from_record(cls, content: Any) -> Fields:
        """Return the fields of a whole record."""
        if not isinstance(content, dict):
            raise ValueError("expected a mapping of fields")
        return cls(content)

    def full_name(self, key: str) -> str:
        """Return the field's name with those of the mappings around it."""
        return f"{self.name}.{key}" if self.name else key

    def error(self, key: str, expected: str) -> ValueError:
        """Return the error of a field."""
        name = make_printable(self.full_name(key))[:LONGEST_NAME]
        if key not in self.content:
            return ValueError(f"{name}: is missing")
        return ValueError(f"{name}={describe_value(self.content[key])}: expected {expected}")

    def has(self, key: str) -> bool:
        """Return whether the field is there and not null."""
        return self.content.get(key) is not None

    def fields(self, key: str) -> Fields:
        """Return a mapping inside this one."""
        value = self.content.get(key)
        if not isinstance(value, dict):
            raise self.error(key, "a mapping")
        return Fields(value, self.full_name(key))

    def items(self, key: str) -> list[Any]:
        """Return a list."""
        value = self.content.get(key)
        if not isinstance(value, list):
            raise self.error(key, "a list")
        return value

    def text(self, key: str, longest: int = LONGEST_NAME) -> str:
        """Return a printable text."""
        value = self.content.get(key)
        if not isinstance(value, str) or len(value) > longest or _UNPRINTABLE.search(value):
            raise self.error(key, f"a text of at most {longest} printable characters")
        return value

    def text_or_none(self, key: str, longest: int = LONGEST_NAME) -> str | None:
        """Return a printable text; None where the field is missing or null."""
        return self.text(key, longest) if self.has(key) else None

    def integer(self, key: str, low: int = 0, high: int = MAX_INTEGER) -> int:
        """Return an integer in [low, high]."""
        value = self.content.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self.error(key, f"an integer from {low} to {high}")
        return value

    def integer_or_none(self, key: str, low: int = 0, high: int = MAX_INTEGER) -> int | None:
        """Return an integer in [low, high]; None where the field is missing or null."""
        return self.integer(key, low, high) if self.has(key) else None

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number in [low, high]; rounding may have moved it out by `ROUNDING`."""
        value: Any = self.content.get(key)
        is_number = type(value) in (int, float) and _is_finite(value)
        if not is_number or not low - ROUNDING <= value <= high + ROUNDING:
            bounds = "" if math.isinf(low) else f" from {low:g} to {high:g}" if math.isfinite(high) else f" >= {low:g}"
            raise self.error(key, f"a number{bounds}")
        return float(value)

    def number_or_none(self, key: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        """Return a finite number in [low, high]; None where the field is missing or null."""
        return self.number(key, low, high) if self.has(key) else None


def describe_value(value: Any) -> str:
    """Return a value for a message: short, printable, on one line."""
    if isinstance(value, (list, dict)):
        return "[…]" if isinstance(value, list) else "{…}"
    try:
        text = make_printable(value) if isinstance(value, str) else repr(value)
    except ValueError:  # Python refuses to print an integer of thousands of digits
        return "<a very large integer>"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def make_printable(text: str) -> str:
    """Return the text with escapes in place of control characters: ``\\x1b`` where a terminal would run a command."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def describe_error(error: Exception) -> str:
    """Return why a record cannot be read, in one printable line, without the name of the file."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return make_printable(" ".join(text.split()))[:300] or type(error).__name__


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False
