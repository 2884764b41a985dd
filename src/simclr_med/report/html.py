"""The report as one page that needs nothing beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from simclr_med.report.score_tables import NONE
from simclr_med.report.sections import Section

# A number alone, with its interval, or with a word in brackets.
_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*(e[+-]?[0-9]+)?( (±|to|\().*)?")
TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    title: str,
    facts: Mapping[str, str],
    warnings: Sequence[str],
    sections: Sequence[Section],
    pictures: Mapping[str, Path],
) -> str:
    """The whole HTML; whatever a user add_method_names is escaped.

    Args:
        title: of the page.
        facts: what the report was made from.
        warnings: what a reader must know before the numbers.
        sections: in their order; their tables and charts are add_method_names as their files.
        pictures: PNG of each chart by its name; they are put into the page.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"numeric": _is_numeric, "heads": _list_columns}
    embedded = {name: base64.b64encode(path.read_bytes()).decode("ascii") for name, path in pictures.items()}
    template = environment.get_template("report.html")
    return template.render(title=title, facts=facts, warnings=warnings, sections=sections, pictures=embedded)


def _list_columns(shown: pd.DataFrame) -> list[tuple[str, bool]]:
    """The columns, and whether numbers stand in them."""
    return [(str(name), any(map(_is_numeric, map(str, shown.iloc[:, at])))) for at, name in enumerate(shown)]


def _is_numeric(text: str) -> bool:
    """Whether a cell reads as a number, and so stands at the right."""
    return text == NONE or _NUMBER.fullmatch(text) is not None
