"""What a killed process left in a finished run's folder goes when the folder is next opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.config.validate import validate_config
from simclr_med.runs.identity import Init
from simclr_med.runs.lock import hold_lock
from simclr_med.runs.run import open_run

RANDOM = Init("random", "random")
LEFT = ("checkpoints/last.ckpt", "checkpoints/previous.ckpt", "figures/.views.png.123.tmp")
STAYS = ("checkpoints/best.ckpt", "encoder.safetensors")


def finished(composed, tmp_path: Path, keep: str) -> Path:
    """A finished run whose process was killed just after it wrote result.json."""
    cfg = validate_config(composed(f"paths.runs={tmp_path}", f"keep={keep}"))
    with open_run(cfg, "d", RANDOM) as run:
        run.finish({}, {}, {})
    for name in (*LEFT, *STAYS):
        (run.folder / name).parent.mkdir(exist_ok=True)
        (run.folder / name).write_bytes(b"x")
    return run.folder


def reopen(composed, tmp_path: Path, keep: str) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}", f"keep={keep}"))
    with open_run(cfg, "d", RANDOM) as run:
        assert run.state == "finished"


@pytest.mark.parametrize(
    ("recorded", "asked", "kept"),
    [("least", "least", ()), ("all", "least", LEFT[:2]), ("least", "all", LEFT[:2])],
)
def test_leftovers_go_unless_checkpoints_are_kept(composed, tmp_path, recorded: str, asked: str, kept) -> None:
    folder = finished(composed, tmp_path, recorded)
    reopen(composed, tmp_path, asked)
    assert [name for name in LEFT if (folder / name).exists()] == list(kept)
    assert all((folder / name).exists() for name in STAYS)


def test_checkpoints_stay_without_a_readable_config(composed, tmp_path: Path) -> None:
    folder = finished(composed, tmp_path, "least")
    (folder / "config.yaml").write_text("a: [b")
    reopen(composed, tmp_path, "least")
    assert [name for name in LEFT if (folder / name).exists()] == list(LEFT[:2])


def test_nothing_goes_while_another_process_works_there(composed, tmp_path: Path) -> None:
    folder = finished(composed, tmp_path, "least")
    (lock,) = (tmp_path / ".locks").glob("*.lock")
    with hold_lock(lock, folder):
        reopen(composed, tmp_path, "least")
        assert all((folder / name).exists() for name in LEFT)
    reopen(composed, tmp_path, "least")
    assert not any((folder / name).exists() for name in LEFT)
