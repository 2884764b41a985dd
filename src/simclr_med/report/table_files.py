"""The report's tables as CSV, Markdown and LaTeX files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from simclr_med.atomic import write_text
from simclr_med.csv_cells import escape_cell
from simclr_med.report.cells import NONE
from simclr_med.report.score_tables import Table

MAX_BYTES = 120  # of a file's name without its extension; file systems allow 255


def to_file_name(name: str) -> str:
    """Return a safe file name: letters, digits, dots and dashes of a name that contains users' data set names."""
    kept = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
    if len(kept.encode()) <= MAX_BYTES:
        return kept
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{kept.encode()[: MAX_BYTES - 9].decode(errors='ignore')}-{digest}"


def assign_file_names(names: Iterable[str]) -> dict[str, str]:
    """Return a different file name for each name, also on file systems that ignore case."""
    assigned: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        stem, number = to_file_name(name), 1
        assigned[name] = stem
        while assigned[name].casefold() in taken:
            number += 1
            assigned[name] = f"{stem}_{number}"
        taken.add(assigned[name].casefold())
    return assigned


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write name.csv with unrounded numbers, and name.md and name.tex with formatted text; return their paths."""
    stem = folder / to_file_name(table.name)
    texts = {
        ".csv": to_csv(table.numbers),
        ".md": to_markdown(table),
        ".tex": to_latex(table),
    }
    for ending, text in texts.items():
        write_text(stem.with_name(stem.name + ending), text)
    return [stem.with_name(stem.name + ending) for ending in texts]


def to_csv(numbers: pd.DataFrame) -> str:
    """Return the table as CSV; text that a spreadsheet would run as a formula is escaped."""
    escaped = numbers.map(lambda cell: escape_cell(cell) if isinstance(cell, str) else cell)
    return str(escaped.rename(columns=lambda name: escape_cell(str(name))).to_csv(index=False, lineterminator="\n"))


def to_markdown(table: Table) -> str:
    """Return a Markdown pipe table with its title above and its note below."""
    shown = table.shown.astype(str).map(_escape_markdown)
    lines = [[_escape_markdown(str(name)) for name in shown], ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{_escape_markdown(table.title)}**\n\n{body}\n\n{_escape_markdown(table.note)}\n"


def to_latex(table: Table) -> str:
    """Return a LaTeX table for booktabs with all text escaped."""
    shown = table.shown.astype(str).map(_escape_latex)
    shown.columns = pd.Index([_escape_latex(str(name)) for name in shown])
    return str(
        shown.to_latex(
            index=False,
            escape=False,
            caption=_escape_latex(table.title),
            label=f"tab:{to_file_name(table.name)}",
            column_format="l" * len(shown.columns),
        )
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    NONE: "--",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # At the start of a row LaTeX reads them as an option of the preceding line break.
    "[": "{[}",
    "*": "{*}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _escape_markdown(text: str) -> str:
    """Return the text on one line, without Markdown markup."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(text.split()))
