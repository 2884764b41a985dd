"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def format_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; every line ends with a line break."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
