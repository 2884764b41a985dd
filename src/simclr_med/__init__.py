"""SimCLR pretraining for medical images: the command ``simclr-med``, and these functions for Python.

>>> import simclr_med as sm
>>> data = sm.load_data("synthetic")
>>> len(data.classes)
8

A function is imported when it is first used, so that importing the package takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simclr_med.api.classifiers import Classifier, ProbeResult, load_classifier, probe
    from simclr_med.api.datasets import Data, load_data
    from simclr_med.api.encoders import Features, extract_features, load_encoder
    from simclr_med.api.run_lists import list_runs

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Data",
    "Features",
    "ProbeResult",
    "extract_features",
    "list_runs",
    "load_classifier",
    "load_data",
    "load_encoder",
    "probe",
]

# The module of each public name.
_HOMES = {
    "classifiers": ("Classifier", "ProbeResult", "load_classifier", "probe"),
    "datasets": ("Data", "load_data"),
    "encoders": ("Features", "extract_features", "load_encoder"),
    "run_lists": ("list_runs",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"simclr_med.api.{home}"), name)
    raise AttributeError(f"module 'simclr_med' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
