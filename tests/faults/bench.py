"""The real command line, an undisturbed run of it, and the verdict on one that a fault befell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from simclr_med.metrics_csv import read_rows

TIMED = ("wall_s", "train/images_per_s")


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code (a signal's negative), what it said, and its seconds."""

    code: int
    out: str
    err: str
    seconds: float = 0.0

    def says(self, *words: str) -> bool:
        return all(word in self.out + self.err for word in words)


@dataclass(frozen=True)
class Outcome:
    """One fault tried.

    Attributes:
        fault: in words.
        code: exit code of the command that the fault befell.
        line: what it said last.
        lost: whether the same command, the fault mended, does not end with an undisturbed run's results.
        wrong: what else is not as it should be, and why a lost run is lost.
    """

    fault: str
    code: int
    line: str
    lost: bool
    wrong: Sequence[str] = ()


@dataclass(frozen=True)
class Bench:
    """Tries commands inside a folder of its own.

    Attributes:
        place: an empty folder.
        epochs: of every run.
        more: words of every command besides the usual ones.
    """

    place: Path
    epochs: int = 6
    more: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def words(self, runs: Path, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "simclr_med", "stage=pretrain", "dataset=synthetic", "data_fraction=n100"),
            *("encoder=tiny", "stage.batch_size=32", f"stage.epochs={self.epochs}", "stage.monitor_every=3"),
            *("stage.checkpoint_every_s=0", "trainer=cpu", "trainer.threads=1", "logger=none", f"paths.runs={runs}"),
            *(*self.more, *more),
        ]

    def variables(self, **environment: str) -> dict[str, str]:
        """All variables of a command."""
        own = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.place / "cache"), "WANDB_MODE": "offline"}
        return {**os.environ, **own, **self.environment, **environment}

    def start(self, runs: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
        """The command, under way in a session of its own, so that a signal to it reaches nobody else."""
        return subprocess.Popen(
            self.words(runs, *more),
            cwd=self.place,
            env=self.variables(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, runs: Path, *more: str, **environment: str) -> Done:
        began = time.monotonic()
        return ended(self.start(runs, *more, **environment), began)

    @cached_property
    def whole(self) -> Path:
        """The folder of an undisturbed run."""
        done = self.run(self.place / "whole")
        assert done.code == 0, done.err
        return folder(self.place / "whole")

    def folder_in(self, runs: Path) -> Path:
        """Where the command's run lies or will lie under another runs folder."""
        return runs / self.whole.relative_to(self.place / "whole")

    def outcome(self, fault: str, runs: Path, hit: Done, expected: Sequence[int], *again: str) -> Outcome:
        """Give the same command again, the fault mended, and compare its results with the undisturbed run's.

        Args:
            fault: in words.
            runs: where the fault befell it.
            hit: how the command ended that the fault befell.
            expected: exit codes that are right for it.
            again: words of the remedy that the command named.
        """
        wrong = [f"exit code {hit.code}"] if hit.code not in expected else []
        wrong += ["a traceback on the terminal"] if "Traceback" in hit.out + hit.err else []
        message = hit.err.strip().splitlines() or hit.out.strip().splitlines()
        by_signal = hit.code in (130, 143)  # which needs no words before there is something to go on from
        if hit.code > 0 and len(message) != 1 and not (by_signal and not message):
            wrong.append(f"{len(message)} lines: {' | '.join(message)[:600]}")
        after = self.run(runs, *again)
        lost = [f"the same command ended with {after.code}: {after.err.strip()[-400:]}"] if after.code != 0 else []
        lost = lost or self.differences(folder(runs))
        return Outcome(fault, hit.code, message[-1] if message else "", bool(lost), (*wrong, *lost))

    def differences(self, run: Path) -> list[str]:
        """What of a finished run is not as in the undisturbed one."""
        found = []
        weights = [place / "encoder.safetensors" for place in (run, self.whole)]
        if not weights[0].is_file() or weights[0].read_bytes() != weights[1].read_bytes():
            found.append("other weights")
        if lasting(run / "metrics.csv") != lasting(self.whole / "metrics.csv"):
            found.append("other metrics")
        here, there = ({path.relative_to(top) for path in top.rglob("*")} for top in (run, self.whole))
        found += [f"left behind: {path}" for path in sorted(here - there) if "wandb" not in path.parts]
        found += [f"missing: {path}" for path in sorted(there - here)]
        return found


def ended(process: subprocess.Popen[str], began: float, timeout: float = 300) -> Done:
    out, err = process.communicate(timeout=timeout)
    return Done(process.returncode, out, err, time.monotonic() - began)


def folder(runs: Path) -> Path:
    """The one run under a runs folder."""
    (found,) = runs.glob("pretrain/*/*")
    return found


def lasting(table: Path) -> list[dict[str, str]]:
    """metrics.csv without what a clock decides."""
    return [{key: value for key, value in row.items() if key not in TIMED} for row in read_rows(table)]


def wait_for(there: Path, process: subprocess.Popen[str], pattern: str, timeout: float = 120) -> None:
    """Until a file of that pattern is under a folder, or the process has ended."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None and not any(there.glob(pattern)):
        time.sleep(0.005)
