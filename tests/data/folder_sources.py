"""Folder data sets with small images and default options."""

from __future__ import annotations

from pathlib import Path

from simclr_med.data.folder import Folder

NO_CSV = {"path": None, "file": "file", "patient": None, "label": None, "split": None}


def build_folder(path: Path, **options) -> Folder:
    """Build a `Folder` of 8 x 8 pixel images; options replace the default arguments."""
    defaults = {"size": 8, "channels": 3, "split_seed": 0, "val_fraction": 0.2, "test_fraction": 0.2}
    defaults |= {"groups_csv": None, "csv": NO_CSV, "intensity": "full", "window": None, "class_folders": None}
    defaults |= {"frames": "one", "broken": "refuse"}
    return Folder("mine", str(path), **(defaults | options))
