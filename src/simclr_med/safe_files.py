"""Read files that somebody else may have written: only regular files of a bounded size, and data without code."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader  # type: ignore[assignment]

MIB = 1 << 20
MOST_BYTES = 64 * MIB  # of a JSON record; one with 1,000 classes has 20 MiB
MOST_YAML_BYTES = MIB // 4  # of a config.yaml, which has 10 KiB; PyYAML reads 256 KiB in about 1 s
DEEPEST = 64  # levels of nesting in a record
# Python needs about 60 bytes for the shortest list, mapping or text; with these bounds a record needs below 0.8 GiB.
MOST_CONTAINERS = 500_000
MOST_QUOTES = 2_000_000
MOST_DIRECTORY_BYTES = MIB  # of the list of members at the end of a zip file: about 10,000 of them
LONGEST_NUMBER = 400  # characters; a float has at most 309 digits before its point


def open_regular(path: Path | str, most_bytes: int | None = None) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Args:
        path: of the file.
        most_bytes: its largest allowed size; None allows any.

    Raises:
        OSError: the file is missing, unreadable, too large, or a folder, pipe, socket or device. Opening never waits.
    """
    # A pipe without a writer would block a plain open for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check(path, os.fstat(descriptor), most_bytes)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def check_regular(path: Path | str, most_bytes: int | None = None) -> os.stat_result:
    """Raise OSError where `open_regular` would, for a file that a library opens by its path; return its status."""
    found = os.stat(path)
    _check(path, found, most_bytes)
    return found


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose list of members has at most `MOST_DIRECTORY_BYTES`; nothing else is read yet.

    Raises:
        OSError: as `open_regular`.
        BadZipFile: the file is damaged, or the list is longer.
        Exception: of other types, from zipfile, for a damaged file.
    """
    with _BoundedReads(open_regular(path).detach()) as file, zipfile.ZipFile(file) as archive:
        yield archive


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """Return the text of a record in UTF-8.

    Raises:
        OSError: as `open_regular`.
        ValueError: the bytes are not UTF-8.
    """
    with open_regular(path, most_bytes) as file:
        # One byte more than allowed, because the file may have grown since it was checked.
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {_format_bytes(most_bytes)}", str(path))
    return content.decode("utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: as `read_text`.
        ValueError: it is not JSON, nested too deeply, holds an integer of thousands of digits, or would need gigabytes
            of memory.
    """
    text = read_text(path)
    if text.count("[") + text.count("{") > MOST_CONTAINERS or text.count('"') > MOST_QUOTES:
        raise ValueError("too many values")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file: plain values, lists and mappings.

    Raises:
        OSError: as `read_text`.
        ValueError: it is not YAML, nested deeper than `DEEPEST`, holds a number of hundreds of digits, or uses anchors
            (a short file could then stand for gigabytes) or tags.
    """
    text = read_text(path, MOST_YAML_BYTES)
    try:
        _check_events(text)
        return yaml.load(text, Loader=SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split()) or "nested too deeply") from error


class _BoundedReads(io.BufferedReader):
    """A file of which no single read is large: zipfile reads the list of members in one, of the length it announces."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of members is larger than {MOST_DIRECTORY_BYTES // MIB} MiB")
        return super().read(size)


def _check(path: Path | str, found: os.stat_result, most_bytes: int | None) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, "is a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if most_bytes is not None and found.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {_format_bytes(most_bytes)}", str(path))


def _format_bytes(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // 1024} KiB"


def _check_events(text: str) -> None:
    """Walk through the parser's events, which needs little memory whatever the text is."""
    depth = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError("anchors and aliases are not allowed")
        if (tag := getattr(event, "tag", None)) is not None:
            raise ValueError(f"the tag {tag[:60]!r} is not allowed")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _is_long_number(event.value):
            raise ValueError(f"a number of more than {LONGEST_NUMBER} characters")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deeply")


def _is_long_number(text: str) -> bool:
    return len(text) > LONGEST_NUMBER and text[0] in "+-.0123456789"
