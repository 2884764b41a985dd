"""Files of others: what is not a plain record is refused at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from simclr_med import safe_files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "record"


def test_records_are_read(file: Path) -> None:
    file.write_text('{"a": [1, 2.5, null, "é"]}', encoding="utf-8")
    wanted = {"a": [1, 2.5, None, "é"]}
    assert safe_files.read_json(file) == wanted
    assert safe_files.read_yaml(file) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: &x 1",
        "a: " + "[" * 5000 + "]" * 5000,
        "".join(f"{' ' * depth}k:\n" for depth in range(200)) + " " * 200 + "v",
        "a: !!python/object/apply:os.system [true]",
        "a: [1",
        "a: \x00",
    ],
    ids=["alias", "anchor", "brackets", "indents", "tag", "cut", "control"],
)
def test_yaml_that_is_no_plain_record(file: Path, text: str) -> None:
    file.write_text(text)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"\S"):
        safe_files.read_yaml(file)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "", "9" * 10_000, "\ud800".encode("utf-8", "surrogatepass")])
def test_json_that_is_no_plain_record(file: Path, text: str | bytes) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"\S"):
        safe_files.read_json(file)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for path in (pipe, link, tmp_path, tmp_path / "missing"):
        with pytest.raises(OSError, match=r"regular|folder|No such file"):
            safe_files.read_text(path)
        with pytest.raises(OSError, match=r"regular|folder|No such file"):
            safe_files.check_regular(path)


def test_size_is_bounded_before_reading(file: Path) -> None:
    with open(file, "wb") as handle:
        handle.truncate(1 << 40)
    with pytest.raises(OSError, match="larger than 64 MiB"):
        safe_files.read_text(file)
    safe_files.check_regular(file)


@pytest.mark.parametrize(
    "text",
    ["a: !!int ''", "a: !!bool x", "a: ! x", "1" * 401, "a: " + ":".join(["1"] * 300), "a: " + "x" * (1 << 18)],
    ids=["integer", "boolean", "plain", "digits", "sexagesimal", "large"],
)
def test_yaml_that_would_take_long_or_break_the_parser(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises((ValueError, OSError), match=r"not allowed|a number of more|larger than 256 KiB"):
        safe_files.read_yaml(file)


@pytest.mark.parametrize("text", ["[" + "[]," * 600_000 + "[]]", "[" + '"a",' * 1_100_000 + '""]'])
def test_json_that_would_fill_memory(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match="too many values"):
        safe_files.read_json(file)
