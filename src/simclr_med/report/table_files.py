"""A report's tables and figures as files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from simclr_med.atomic import write_text
from simclr_med.report.score_tables import NONE, Table

LONGEST = 120  # bytes of a file's name without its ending; file systems allow 255


def to_file_name(name: str) -> str:
    """Letters, digits, dots and dashes of a name that data sets, which users name, are part of."""
    kept = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
    if len(kept.encode()) <= LONGEST:
        return kept
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{kept.encode()[: LONGEST - 9].decode(errors='ignore')}-{digest}"


def assign_file_names(names: Iterable[str]) -> dict[str, str]:
    """A file's name for each, different ones, on disks too that take capitals for small letters."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        wanted, number = to_file_name(name), 1
        found[name] = wanted
        while found[name].casefold() in taken:
            number += 1
            found[name] = f"{wanted}_{number}"
        taken.add(found[name].casefold())
    return found


def write_table(table: Table, folder: Path) -> list[Path]:
    """name.csv with every number in full, name.md and name.tex as a reader wants it."""
    stem = folder / to_file_name(table.name)
    texts = {
        ".csv": table.numbers.to_csv(index=False, lineterminator="\n"),
        ".md": to_markdown(table),
        ".tex": to_latex(table),
    }
    for ending, text in texts.items():
        write_text(stem.with_name(stem.name + ending), text)
    return [stem.with_name(stem.name + ending) for ending in texts]


def to_markdown(table: Table) -> str:
    """A pipe table under its title, its note below."""
    shown = table.shown.astype(str).map(_cell)
    lines = [[_cell(str(name)) for name in shown], ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{_cell(table.title)}**\n\n{body}\n\n{_cell(table.note)}\n"


def to_latex(table: Table) -> str:
    """A table for booktabs, everything escaped."""
    shown = table.shown.astype(str).map(_escaped)
    shown.columns = pd.Index([_escaped(str(name)) for name in shown])
    return str(
        shown.to_latex(
            index=False,
            escape=False,
            caption=_escaped(table.title),
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
    # At the start of a row they would be read as the option of the line's end before it.
    "[": "{[}",
    "*": "{*}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _cell(text: str) -> str:
    """A text that stays inside its cell and is no markup."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(text.split()))
