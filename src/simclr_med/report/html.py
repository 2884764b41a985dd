"""The report as one self-contained HTML page."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from simclr_med.report.answers import Answer
from simclr_med.report.cells import NONE
from simclr_med.report.sections import Section

# A number alone, with its interval, or with a remark in brackets.
_NUMBER = re.compile(r"(< )?[+-]?[0-9][0-9.,]*(e[+-]?[0-9]+)?( (\[|to [+-]?[0-9]|\(|[0-9]).*)?")
# The parts of such a cell, which a narrow screen shows below each other: number, interval, remark.
_PIECE = re.compile(r"\[[^\]]*\]|\([^)]*\)|[^\[(]+")
_TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    title: str,
    facts: Mapping[str, str],
    warnings: Sequence[str],
    answers: Sequence[Answer],
    sections: Sequence[Section],
    pictures: Mapping[str, Path],
) -> str:
    """Return the HTML; all text is escaped.

    Args:
        title: of the page.
        facts: rows of the header, such as the runs and their folder.
        warnings: shown below the answers.
        answers: of the first screen.
        sections: in their order; their tables and charts are named as their files.
        pictures: PNG of each chart by its name; embedded in the page.
    """
    embedded = {name: base64.b64encode(path.read_bytes()).decode("ascii") for name, path in pictures.items()}
    filters: dict[str, Callable[..., Any]] = {"numeric": _is_numeric, "columns": _list_columns, "pieces": _split_number}
    return load_template("report.html", filters).render(
        title=title, facts=facts, warnings=warnings, answers=answers, sections=sections, pictures=embedded
    )


def load_template(name: str, filters: Mapping[str, Callable[..., Any]]) -> Template:
    """Return a page's template, which escapes all text.

    Args:
        name: of its file.
        filters: functions that the template calls, by name.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def _list_columns(shown: pd.DataFrame) -> list[tuple[str, bool]]:
    """Return (name, whether the column has numbers) of each column."""
    return [(str(name), any(map(_is_numeric, map(str, shown.iloc[:, number])))) for number, name in enumerate(shown)]


def _is_numeric(text: str) -> bool:
    """Return whether a cell is a number, which is aligned at the right."""
    return text == NONE or _NUMBER.fullmatch(text) is not None


def _split_number(text: str) -> list[str]:
    """Return the parts of a cell with a number that must not be broken: ``0.81``, ``[0.79, 0.83]``, ``(1 run)``."""
    return [piece.strip() for piece in _PIECE.findall(text) if piece.strip()]
