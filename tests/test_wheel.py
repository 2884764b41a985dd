"""A wheel works from any folder: conf/ travels inside."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_conf_and_runs_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    inside = {f"simclr_med/conf/{path.relative_to(ROOT / 'conf').as_posix()}" for path in ROOT.glob("conf/**/*.yaml")}
    assert inside <= names
    data = [path for part in ("anchors", "templates") for path in (ROOT / "src/simclr_med/report" / part).iterdir()]
    assert len(data) == 8
    assert {path.relative_to(ROOT / "src").as_posix() for path in data} <= names
    assert not [name for name in names if name.startswith("tests")]
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "simclr_med", "dataset=synthetic", "dry_run=true"],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pending ")
    assert str(Path("runs", "pretrain", "synthetic")) in done.stdout
    assert list((tmp_path / "work").iterdir()) == []
