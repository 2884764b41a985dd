"""The public functions are those of __all__, are imported late, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from api.conftest import Made

import simclr_med

MODULES = ("classifiers", "datasets", "encoders", "run_lists")


@pytest.mark.parametrize("name", ["simclr_med", *(f"simclr_med.api.{module}" for module in MODULES)])
def test_examples_run(name: str, made: Made) -> None:
    names = {"run": made.pretrained, "probe_run": made.probe, "runs_folder": made.runs}
    found = doctest.testmod(importlib.import_module(name), extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


def test_every_public_name_exists_and_has_an_example() -> None:
    finder = doctest.DocTestFinder(recurse=False)
    for name in simclr_med.__all__:
        public = getattr(simclr_med, name)
        assert name in dir(simclr_med)
        if name not in ("Classifier", "Data", "ProbeResult"):  # what functions with examples return
            assert any(test.examples for test in finder.find(public)), name
    with pytest.raises(AttributeError, match="no attribute 'load_encodr'"):
        simclr_med.load_encodr  # noqa: B018


def test_import_of_the_package_is_cheap() -> None:
    code = "import sys, simclr_med; print(sorted({'torch', 'numpy', 'hydra'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_functions_stand_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    assert {name for name in simclr_med.__all__ if f"::: simclr_med.{name}\n" in f"{page}\n"} == set(simclr_med.__all__)
