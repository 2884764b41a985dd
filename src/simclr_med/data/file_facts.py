"""What the headers of a folder's files say, read once: which images have more than 8 bits, patients, frames."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from simclr_med.data.dicom import read_dicom_header
from simclr_med.data.json_cache import cached_record
from simclr_med.data.pixels import has_16_bits, is_dicom_name
from simclr_med.data.progress import show_progress
from simclr_med.data.source import Remarks

VERSION = 1  # increase with every change of what is read


@dataclass(frozen=True)
class FileFacts:
    """The facts of a folder's files, by name relative to the folder.

    Attributes:
        deep: files with more than 8 bits per value, by their headers.
        patients: number of the patient of each DICOM file with a PatientID, from 1, in the order of the names. The
            PatientID itself is not kept.
        frames: number of images of each DICOM file that does not have one; 0 without pixels.
        with_window: DICOM files that state how their values are shown.
        with_burnt_in_text: DICOM files that say that text is part of their pixels.
    """

    deep: frozenset[str]
    patients: Mapping[str, int]
    frames: Mapping[str, int]
    with_window: frozenset[str]
    with_burnt_in_text: frozenset[str]


def read_file_facts(root: Path, names: Sequence[str], digest: str) -> FileFacts:
    """Read the headers, or the user's cache of them.

    Args:
        root: the folder.
        names: of its files.
        digest: hash of names and contents.
    """
    columns = cached_record(
        ["headers", digest, VERSION], partial(_is_intact, files=len(names)), partial(_read_headers, root, names)
    )
    by_name = {key: dict(zip(names, values, strict=True)) for key, values in columns.items()}
    return FileFacts(
        frozenset(name for name, found in by_name["deep"].items() if found),
        {name: patient for name, patient in by_name["patient"].items() if patient},
        {name: frames for name, frames in by_name["frames"].items() if frames != 1},
        frozenset(name for name, found in by_name["window"].items() if found),
        frozenset(name for name, found in by_name["text"].items() if found),
    )


_COLUMNS = ("deep", "patient", "frames", "window", "text")


def _read_headers(root: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """Return a number for each file in each column."""
    numbers: dict[str, int] = {}
    columns: dict[str, list[int]] = {column: [] for column in _COLUMNS}
    with warnings.catch_warnings(), show_progress(f"Reading the headers of {root.name}", "files") as update:
        warnings.simplefilter("ignore")  # of PIL about large files; reading the pixels says what is wrong
        for done, name in enumerate(names, start=1):
            row = (int(has_16_bits(root / name)), 0, 1, 0, 0)
            if is_dicom_name(name):
                header = read_dicom_header(root / name)
                is_known = bool(header.patient) and header.frames > 0
                patient = numbers.setdefault(header.patient, len(numbers) + 1) if is_known else 0
                row = (
                    int(header.is_deep),
                    patient,
                    header.frames,
                    int(header.has_window),
                    int(header.has_burnt_in_text),
                )
            for column, value in zip(_COLUMNS, row, strict=True):
                columns[column].append(value)
            update(done, len(names))
    return columns


def _is_intact(record: Any, files: int) -> bool:
    if not isinstance(record, dict) or set(record) != set(_COLUMNS):
        return False
    columns = list(record.values())
    return all(
        isinstance(values, list) and len(values) == files and all(isinstance(value, int) for value in values)
        for values in columns
    )


def describe_files(left_out: Mapping[str, int], facts: FileFacts, dicom: int) -> Remarks:
    """Return the sentences about the files of a folder.

    Args:
        left_out: number of files that are not used, by kind.
        facts: of the files that are used.
        dicom: number of DICOM files with images.
    """
    said, warnings = [], []
    if left_out:
        total = sum(left_out.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in left_out.items())
        said.append(f"{total:,} file{'s' if total > 1 else ''} left out: {kinds}.")
    if dicom:
        said.append(_describe_dicom(facts, dicom))
    if facts.with_burnt_in_text:
        count = len(facts.with_burnt_in_text)
        warnings.append(
            f"{count:,} DICOM file{'s say' if count > 1 else ' says'} that text is burnt into the pixels, which may "
            "name the patient. Pictures show it: check them before you share a report."
        )
    return Remarks(tuple(said), tuple(warnings))


def _describe_dicom(facts: FileFacts, dicom: int) -> str:
    patients, alone = len(set(facts.patients.values())), dicom - len(facts.patients)
    parts = [f"{patients:,} patients by PatientID, each in one split"] if patients else []
    parts += [f"{alone:,} without PatientID, each a patient of its own"] if alone else []
    windows = f"{len(facts.with_window):,} with a window (VOI)"
    return f"{dicom:,} DICOM file{'s' if dicom > 1 else ''}: {'; '.join([*parts, windows])}."
