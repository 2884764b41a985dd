"""Writing a report into a folder: the page, its tables and its figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from simclr_med.atomic import write_json, write_text
from simclr_med.errors import RunError
from simclr_med.report.cells import NONE
from simclr_med.report.collect import Collection
from simclr_med.report.comparisons import MARGIN
from simclr_med.report.html import render_page
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import Content, Section, build_content, count_states
from simclr_med.report.table_files import assign_file_names, write_table

_DRAWN = "synthetic"  # name of the embedded data set
_DRAWN_NOTE = (
    f"{_DRAWN} is drawn to show what pretraining can do: its classes differ in shape alone, its images also in stain, "
    "light, focus and scale. Its numbers say nothing about medical images."
)
_CONTENTS = "contents.json"  # lists the files of a report, so that the next report can delete those it does not write


def write_report(collection: Collection, folder: Path, margin: float = MARGIN) -> tuple[Path, Content]:
    """Write report.html, tables/ and figures/, and delete the files of an earlier report that no longer belong.

    Args:
        collection: the runs.
        folder: of the report.
        margin: differences of AUROC below it are called practically equal.

    Returns:
        the page, and what it says.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        for name in ("tables", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        content = build_content(collection, margin)
        sections = _rename_to_files(content.sections)
        written: list[Path] = []
        pictures: dict[str, Path] = {}
        for section in sections:
            for table in section.tables:
                written += write_table(table, folder / "tables")
            for chart in section.charts:
                png = chart.save(folder / "figures")
                pictures[chart.name] = png
                written += [png, png.with_suffix(".pdf")]
        page = folder / "report.html"
        title, facts, warnings = _build_title(collection), _build_facts(collection), _build_warnings(collection)
        write_text(page, render_page(title, facts, warnings, content.answers, sections, pictures))
        _delete_old_files(folder, [path.relative_to(folder).as_posix() for path in written])
    except OSError as error:
        raise RunError(
            f"stage.out={error.filename or folder}: cannot be written ({error.strerror}). Choose another stage.out."
        ) from error
    return page, Content(content.answers, sections)


def _rename_to_files(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with each table and chart named as its file, so that no two share one."""
    tables = assign_file_names(table.name for section in sections for table in section.tables)
    charts = assign_file_names(chart.name for section in sections for chart in section.charts)
    return [
        replace(
            section,
            tables=[replace(table, name=tables[table.name]) for table in section.tables],
            charts=[replace(chart, name=charts[chart.name]) for chart in section.charts],
        )
        for section in sections
    ]


def _build_title(collection: Collection) -> str:
    names = sorted(set(collection.table["dataset"]))
    return f"Results: {', '.join(names)}" if len(names) < 4 else f"Results: {len(names)} data sets"


def _build_facts(collection: Collection) -> dict[str, str]:
    drawn = {"drawn images": _DRAWN_NOTE} if _DRAWN in set(collection.table["dataset"]) else {}
    return drawn | {
        "runs": ", ".join(f"{number} {state}" for state, number in count_states(collection).items()),
        "folder": str(collection.runs),
        "protocol version": ", ".join(map(str, collection.versions)) or NONE,
        "methods": "“probe, own microscopy” is a probe of an encoder that was pretrained on the same data set with the "
        "augmentation microscopy; the untrained control is the probe of a randomly initialised encoder.",
        "label budgets": "n100 is 100 labelled images, pct10 is 10 % of the images, per_class10 is 10 images per "
        "class, full is all of them.",
        "created": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }


def _build_warnings(collection: Collection) -> list[str]:
    warnings = []
    if len(collection.versions) > 1:
        warnings.append(
            f"This report mixes runs of protocol versions {', '.join(map(str, collection.versions))}. Results of "
            "different versions are not comparable. The name of each method includes its version."
        )
    scored = select_scored_runs(collection.table)
    unverified = int(scored["predictions_hash"].isna().sum())
    if unverified:
        subject = "1 run has" if unverified == 1 else f"{unverified} runs have"
        warnings.append(
            f"{subject} no recorded hash of the predictions (an earlier version wrote them), so the comparisons cannot "
            "verify these files."
        )
    if collection.damaged:
        count = len(collection.damaged)
        subject = "1 run cannot be read and is" if count == 1 else f"{count} runs cannot be read and are"
        warnings.append(f"{subject} excluded from all results. The last section lists the reasons.")
    return warnings


def _delete_old_files(folder: Path, written: Sequence[str]) -> None:
    """Delete the files that an earlier report wrote and this one did not."""
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
