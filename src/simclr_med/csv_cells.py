"""Cells of CSV tables that hold text from data: names of classes, files and runs, and messages."""

from __future__ import annotations

# Spreadsheets run a cell that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def escape_cell(text: str) -> str:
    """Return the text with an apostrophe before it where a spreadsheet would run it as a formula.

    Use it only for text: a negative number would become a text.
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def unescape_cell(text: str) -> str:
    """Return the text that `escape_cell` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_STARTS) else text
