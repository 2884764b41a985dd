"""The notebooks of the documentation run from an empty folder, every command in them included."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    command = tmp_path / "bin" / "simclr-med"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m simclr_med "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("SIMCLR_MED_RUNS", raising=False)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:  # a notebook continues after a command that failed
        if cell.cell_type == "code" and "\n!" in f"\n{cell.source}":
            cell.source = f"{cell.source.rstrip()}\nassert _exit_code == 0, _exit_code"
    where = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()


def test_notebooks_are_stored_without_outputs() -> None:
    assert len(NOTEBOOKS) == 2
    for path in NOTEBOOKS:
        content = json.loads(path.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name
