"""A run's identity is computed before torch loads: the sources must do without it."""

from __future__ import annotations

import subprocess
import sys

TORCH_FREE = "arrays decoding download folder hashing layout listing medmnist npy npz splits source subsets synthetic"


def test_the_sources_load_no_heavy_package() -> None:
    heavy = "{'torch', 'lightning', 'torchvision', 'sklearn', 'scipy', 'pandas', 'PIL', 'tifffile', 'rich', 'hydra'}"
    modules = ", ".join(f"simclr_med.data.{name}" for name in TORCH_FREE.split())
    program = f"import sys, {modules}\nprint(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
