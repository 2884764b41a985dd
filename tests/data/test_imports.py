"""Data sources import no heavy package, since a run's identity is computed before torch loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from simclr_med.data import source

WITH_TORCH = {"datamodule", "device_images", "loader", "same_patient"}
MODULES = {path.stem for path in Path(source.__file__).parent.glob("[!_]*.py")} | {"synthetic"}
TORCH_FREE = sorted(MODULES - WITH_TORCH)


def test_sources_import_no_heavy_package() -> None:
    heavy = "{'torch', 'lightning', 'torchvision', 'sklearn', 'scipy', 'pandas', 'PIL', 'tifffile', 'rich', 'hydra'}"
    modules = ", ".join(f"simclr_med.data.{name}" for name in TORCH_FREE)
    program = f"import sys, {modules}\nprint(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
