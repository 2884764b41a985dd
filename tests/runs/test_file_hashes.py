"""The recorded hashes of a run's files, and what is said when a file differs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from simclr_med.errors import CheckpointError
from simclr_med.runs.file_hashes import hash_files, verify_files

HEAD = "head.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / HEAD).write_bytes(b"weights")
    (tmp_path / "config.yaml").write_bytes(b"seed: 0\n")
    (tmp_path / "metrics.csv").write_bytes(b"epoch\n")
    (tmp_path / "result.json").write_text(json.dumps({"files": hash_files(tmp_path)}))
    return tmp_path


def refused(folder: Path, *names: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        verify_files(folder, *names)
    (line,) = caught.value.problems
    assert "\n" not in line
    assert line.endswith("Restore it, or repeat the run with overwrite=true.")
    return line


def test_files_that_decide_numbers_are_hashed(folder: Path) -> None:
    assert sorted(hash_files(folder)) == ["config.yaml", HEAD]
    assert hash_files(folder)[HEAD] == "sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert verify_files(folder, HEAD, "config.yaml") is None


def test_a_changed_file_is_refused(folder: Path) -> None:
    (folder / HEAD).write_bytes(b"weightt")
    assert refused(folder, "config.yaml", HEAD).startswith(
        f"{folder / HEAD}: has changed since the run finished (result.json records another hash). "
    )
    assert verify_files(folder, "config.yaml") is None


def test_a_file_that_the_run_did_not_write_is_refused(folder: Path) -> None:
    (folder / "encoder.safetensors").write_bytes(b"planted")
    assert "has changed since the run finished" in refused(folder, "encoder.safetensors")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused(folder: Path, kind: str) -> None:
    (folder / HEAD).unlink()
    if kind == "folder":
        (folder / HEAD).mkdir()
    if kind == "pipe":
        os.mkfifo(folder / HEAD)
    assert refused(folder, HEAD).startswith(f"{folder / HEAD}: ")


def test_a_run_without_hashes_is_noted_once(folder: Path) -> None:
    (folder / "result.json").write_text(json.dumps({"protocol_version": 1}))
    note = verify_files(folder, HEAD, "config.yaml")
    assert (
        note == f"{folder}: recorded no hashes of its files (an earlier version wrote it), so they cannot be verified."
    )


@pytest.mark.parametrize("text", [None, "{", "\x00"])
def test_an_unreadable_result_is_refused(folder: Path, text: str | None) -> None:
    (folder / "result.json").unlink()
    if text is not None:
        (folder / "result.json").write_text(text)
    assert "result.json: missing or unreadable" in refused(folder, HEAD)
