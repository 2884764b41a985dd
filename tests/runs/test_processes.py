"""The training that the processes of other nodes read."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest

from simclr_med.errors import RunError
from simclr_med.runs import processes


def test_training_is_read_only_from_the_file_of_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "VISIBLE_S", 0.0)
    path, content = tmp_path / ".training.0.tmp", pickle.dumps("training")
    sha256 = hashlib.sha256(content).hexdigest()
    with pytest.raises(RunError, match=f"paths.runs: the folder {tmp_path} is not the same on all nodes"):
        processes._read_training(path, sha256)
    path.write_bytes(content)
    assert processes._read_training(path, sha256) == "training"  # type: ignore[comparison-overlap]
    path.write_bytes(pickle.dumps("another"))
    with pytest.raises(RunError, match="not the same on all nodes"):
        processes._read_training(path, sha256)
