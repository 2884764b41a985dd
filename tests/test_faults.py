"""A few faults against the real command line; `python tests/faults/campaign.py` tries them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faults import damage, disks, full
from faults.bench import Bench
from forked_commands import Forked

pytestmark = pytest.mark.process
WHY = disks.unavailable()
mounts = pytest.mark.skipif(WHY is not None, reason=str(WHY))


class ForkedBench(Bench):
    """Its commands are forks, which differ from the campaign's only in their start."""

    def start(self, runs: Path, *more: str, **environment: str) -> Any:
        return Forked(self.words(runs, *more)[3:], self.place, self.variables(**environment))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return ForkedBench(tmp_path_factory.mktemp("faults"), epochs=3)


@mounts
@pytest.mark.parametrize("kib", [8, 900], ids=["metrics.csv", "last.ckpt"])
def test_a_full_disk_loses_no_run(bench: Bench, kib: int) -> None:
    (outcome,) = full.no_more_bytes(bench, sizes=(kib,))
    assert not outcome.lost, outcome
    assert not outcome.wrong, outcome
    assert "could not be written" in outcome.line or "the folder cannot be written" in outcome.line


@mounts
def test_a_read_only_folder_is_one_line(bench: Bench) -> None:
    outcome = next(full.read_only(bench))
    assert not outcome.lost, outcome
    assert not outcome.wrong, outcome
    assert "(Read-only file system)" in outcome.line


def test_a_damaged_metrics_file_loses_no_epoch(bench: Bench) -> None:
    outcome = next(damage.metrics(bench))
    assert not outcome.lost, outcome
    assert not outcome.wrong, outcome
