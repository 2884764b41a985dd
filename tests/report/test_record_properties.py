"""Whatever a record holds, it is read, or refused with one printable line that names its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from record_strategies import changed_records, json_values, yaml_texts
from run_folders import config, write

from simclr_med.report.collect import to_row
from simclr_med.report.results import DamagedRunError, Result, read_result, read_tables
from simclr_med.runs.fields import make_printable
from simclr_med.runs.finished_runs import find_finished_runs, load_config

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished probe, whose records the tests replace."""
    return write(tmp_path_factory.mktemp("runs"), "probe")


@pytest.fixture(scope="module")
def recorded(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def read(folder: Path, name: str, text: str) -> Result | None:
    """Read the run with another content of one file; None where it is refused as it should be."""
    path = folder / name
    before = path.read_bytes()
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        result = _refused(folder, name, read_result)
        tables = _refused(folder, name, read_tables)
        load_config(folder)
        list(find_finished_runs(folder.parents[2], folder.parents[1].name, folder.parent.name))
        assert result is None or tables is not None
        if result is not None:
            json.dumps(to_row(result), default=str, ensure_ascii=False).encode("utf-8")
        return result
    finally:
        path.write_bytes(before)


def _refused(folder: Path, name: str, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(folder)
    except DamagedRunError as error:
        message = str(error)
    assert message.startswith(str(folder / name) + ": ")
    assert message == make_printable(message)
    assert len(message) < len(str(folder)) + 600
    return None


@given(data=st.data())
def test_result_json_with_changed_values(folder: Path, recorded: dict[str, Any], data: st.DataObject) -> None:
    read(folder, "result.json", json.dumps(data.draw(changed_records(recorded))))


@given(value=json_values)
def test_result_json_of_any_value(folder: Path, value: object) -> None:
    assert read(folder, "result.json", json.dumps(value)) is None


@given(text=st.text())
def test_result_json_of_any_text(folder: Path, text: str) -> None:
    assert read(folder, "result.json", text) is None


@given(data=st.data())
def test_config_yaml_with_changed_values(folder: Path, data: st.DataObject) -> None:
    changed = data.draw(changed_records(config("probe")))
    # JSON is YAML, and keeps values that PyYAML cannot write.
    read(folder, "config.yaml", json.dumps(changed))


@given(text=yaml_texts)
def test_config_yaml_of_any_text(folder: Path, text: str) -> None:
    assert read(folder, "config.yaml", text) is None


def test_unchanged_records_are_read(folder: Path) -> None:
    """The other tests would pass if everything was refused."""
    assert read(folder, "result.json", (folder / "result.json").read_text()) is not None
    assert read(folder, "config.yaml", yaml.safe_dump(yaml.safe_load((folder / "config.yaml").read_text()))) is not None
