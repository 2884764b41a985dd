"""A whole report into a folder: the page, its tables and its figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from simclr_med.atomic import write_json, write_text
from simclr_med.errors import RunError
from simclr_med.report.collect import Collection
from simclr_med.report.html import render_page
from simclr_med.report.score_tables import NONE
from simclr_med.report.sections import Section, build_sections, counts
from simclr_med.report.table_files import file_names, write_table

_CONTENTS = "contents.json"  # the files that a report wrote, so that the next one leaves none of them behind


def write_report(found: Collection, folder: Path) -> tuple[Path, list[Section]]:
    """Write report.html, tables/ and figures/; files of an earlier report there that are no more go.

    Returns:
        the page, and the sections that it has.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        for name in ("tables", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        parts = _told_apart(build_sections(found))
        written: list[Path] = []
        pictures: dict[str, Path] = {}
        for part in parts:
            for table in part.tables:
                written += write_table(table, folder / "tables")
            for chart in part.charts:
                png = chart.save(folder / "figures")
                pictures[chart.name] = png
                written += [png, png.with_suffix(".pdf")]
        target = folder / "report.html"
        write_text(target, render_page(_title(found), _facts(found), _warnings(found), parts, pictures))
        _sweep(folder, [path.relative_to(folder).as_posix() for path in written])
    except OSError as error:
        raise RunError(
            f"{error.filename or folder}: must be a file that can be written ({error.strerror}). Choose another "
            "stage.out."
        ) from error
    return target, parts


def _told_apart(parts: Sequence[Section]) -> list[Section]:
    """The sections with their tables and charts named as their files are, whatever data sets are called."""
    tables = file_names(table.name for part in parts for table in part.tables)
    charts = file_names(chart.name for part in parts for chart in part.charts)
    return [
        replace(
            part,
            tables=[replace(table, name=tables[table.name]) for table in part.tables],
            charts=[replace(chart, name=charts[chart.name]) for chart in part.charts],
        )
        for part in parts
    ]


def _title(found: Collection) -> str:
    names = sorted(set(found.table["dataset"]))
    return f"What the runs say: {', '.join(names)}" if len(names) < 4 else f"What the runs say: {len(names)} data sets"


def _facts(found: Collection) -> dict[str, str]:
    return {
        "runs": ", ".join(f"{number} {state}" for state, number in counts(found).items()),
        "folder": str(found.runs),
        "protocol version": ", ".join(map(str, found.versions)) or NONE,
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }


def _warnings(found: Collection) -> list[str]:
    told = []
    if len(found.versions) > 1:
        told.append(
            f"Runs of protocol versions {', '.join(map(str, found.versions))} stand together here. Their results "
            "cannot be compared; methods carry their version."
        )
    if found.damaged:
        told.append(f"{len(found.damaged)} runs cannot be read and are in no number; they are named at the end.")
    return told


def _sweep(folder: Path, written: Sequence[str]) -> None:
    """Remove what the report before this one wrote and this one did not."""
    contents = folder / _CONTENTS
    try:
        before = json.loads(contents.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        before = []
    for name in set(map(str, before)) - set(written):
        path = folder / name
        if path.parent in (folder / "tables", folder / "figures"):
            path.unlink(missing_ok=True)
    write_json(contents, {"files": sorted(written)})
