"""Faults at the writes of every stage: `python tests/faults/writers.py [--minutes 10] [--kinds kill EIO] [STAGE ...]`.

Each trial runs one command of a small study and lets one fault befall one change that it makes on the disk: the process
is killed before it, or it fails with ENOSPC or EIO. The same command is then given again. docs/faults.md says what
counts as a loss. The trials of a stage are drawn from all its changes until its share of the time is over.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import warm
from faults.bench import TIMED
from faults.warm import Ended, Injector, Point

SHARED = ("logger=none", "trainer=cpu", "trainer.threads=1")
SMALL = ("dataset=synthetic", "encoder=tiny", "data_fraction=n50", "stage.checkpoint_every_s=0")
TRAINING = (*SMALL, "stage.epochs=3", "stage.batch_size=32", "schedule.warmup_epochs=0")
# The words of each command, in the order of the study. {pretrain} and {baseline} are folders of finished runs.
COMMANDS: dict[str, tuple[str, ...]] = {
    "pretrain": ("stage=pretrain", *TRAINING),
    "baseline": ("stage=baseline", "stage.min_steps=0", *TRAINING),
    "probe": ("stage=probe", "dataset=synthetic", "encoder=tiny", "data_fraction=n50", "init.run={pretrain}"),
    "test": ("stage=test", "dataset=synthetic", "stage.run={baseline}", "stage.resamples=50"),
    "predict": ("stage=predict", "dataset=synthetic", "stage.run={baseline}"),
    "analyse": ("stage=analyse", "dataset=synthetic", "encoder=tiny", "init.run={pretrain}", "stage.points=40"),
    "preview": ("stage=preview", "dataset=synthetic", "encoder=tiny"),
    "report": ("stage=report",),
}
# Files whose bytes depend on the time.
VOLATILE = ("report.html", "index.html", "training.png")


@dataclass(frozen=True)
class Trial:
    """One fault: where it was injected, whether the run was lost, and what else was wrong."""

    stage: str
    kind: str
    point: Point
    code: int
    lost: tuple[str, ...]
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        what = f"{self.stage:9} {self.kind:6} {self.point.change:7} {self.point.file[-70:]:70} {self.code:4}"
        return "\n    ".join((what, *(f"LOST: {line}" for line in self.lost), *self.wrong))


@dataclass(frozen=True)
class Study:
    """A small study in an empty folder, one command after the other, each tried on what the earlier ones left.

    Attributes:
        place: the folder.
    """

    place: Path

    @property
    def runs(self) -> Path:
        return self.place / "runs"

    def words(self, stage: str) -> list[str]:
        folders = {name: next(iter(self.runs.glob(f"{name}/*/*")), "") for name in ("pretrain", "baseline")}
        return [*SHARED, f"paths.runs={self.runs}", *(word.format(**folders) for word in COMMANDS[stage])]

    def run(self, stage: str, injector: Injector | None = None) -> Ended:
        return warm.run(self.place, self.words(stage), (lambda: None) if injector is None else injector.install)

    def keep(self, name: str) -> None:
        _copy(self.runs, self.place / name)

    def restore(self, name: str) -> None:
        _copy(self.place / name, self.runs)

    def prepare(self, stage: str) -> list[Point]:
        """Run the stage undisturbed: keep what was there before and after, and return its changes of the disk."""
        self.keep("before")
        log = self.place / "changes"
        log.unlink(missing_ok=True)
        done = self.run(stage, Injector(self.runs, log=log))
        assert done.code == 0, f"{stage}: {done.err}"
        self.keep("whole")
        rows = [line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
        return [Point(number, change, file) for number, (change, file) in enumerate(rows)]

    def attempt(self, stage: str, kind: str, point: Point) -> Trial:
        """Let one fault befall the stage, give the command again, and compare all files with the undisturbed ones."""
        self.restore("before")
        hit = self.run(stage, Injector(self.runs, point.number, kind))
        wrong = ["a traceback on the terminal"] if "Traceback" in hit.out + hit.err else []
        lines = hit.err.strip().splitlines()
        if hit.code not in ((-9,) if kind == "kill" else (0, 1)):
            wrong.append(f"exit code {hit.code}: {hit.err[-300:]}")
        if hit.code == 1 and len(lines) != 1:
            wrong.append(f"{len(lines)} lines: {' | '.join(lines)[:400]}")
        if kind == "EIO" and "Free disk space" in hit.err:
            wrong.append(f"EIO called a full disk: {hit.err.strip()}")
        after = self.run(stage)
        wrong += ["a traceback of the repeated command"] if "Traceback" in after.out + after.err else []
        lost = [f"the same command ended with {after.code}: {after.err[-300:]}"] if after.code else []
        lost = lost or differences(self.runs, self.place / "whole")
        return Trial(stage, kind, point, hit.code, tuple(lost), tuple(wrong))


def differences(found: Path, expected: Path) -> list[str]:
    """Return the files of all runs that are missing, left behind, or of another content.

    The cache of features may be missing: a command that cannot write it says so and ends well.
    """
    here, there = _files(found), _files(expected)
    problems = [f"left behind: {name}" for name in sorted(here - there)]
    problems += [f"missing: {name}" for name in sorted(there - here) if not name.startswith(".features/")]
    for name in sorted(here & there):
        if Path(name).name not in VOLATILE and _lasting(found / name) != _lasting(expected / name):
            problems.append(f"other content: {name}")
    return problems


def _files(runs: Path) -> set[str]:
    return {str(path.relative_to(runs)) for path in runs.rglob("*") if path.is_file() and ".locks" not in path.parts}


def _lasting(path: Path) -> Any:
    """The content of a file without what a clock decides."""
    content = path.read_bytes()
    if path.name == "result.json":
        result = json.loads(content) | {"timing": None}
        result["provenance"].pop("git", None)  # somebody may commit meanwhile
        return result | {"metrics": {name: x for name, x in result["metrics"].items() if name not in TIMED}}
    if path.name == "metrics.csv":
        header, *rows = (line.split(",") for line in content.decode().splitlines())
        timed = [header.index(name) for name in TIMED if name in header]
        return [header, *([cell for place, cell in enumerate(row) if place not in timed] for row in rows)]
    return content


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, target, symlinks=True)


def trials(study: Study, stages: Sequence[str], kinds: Sequence[str], minutes: float) -> Iterator[Trial]:
    """Try faults, each stage for an equal share of the time; print how many of its changes were tried."""
    ends = time.monotonic() + 60 * minutes
    for number, stage in enumerate(COMMANDS):
        points = study.prepare(stage)
        if stage not in stages:
            continue
        left = len([name for name in list(COMMANDS)[number:] if name in stages])
        until = time.monotonic() + (ends - time.monotonic()) / left
        chosen = [(kind, point) for kind in kinds for point in points]
        random.Random(0).shuffle(chosen)
        tried = 0
        for kind, point in chosen:
            if time.monotonic() > until:
                break
            tried += 1
            yield study.attempt(stage, kind, point)
        study.restore("whole")
        print(f"{stage}: {tried} of {len(chosen)} faults tried ({len(points)} changes of the disk)", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(COMMANDS)}; all when none is given")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kinds", nargs="*", default=list(warm.KINDS), choices=warm.KINDS)
    chosen = parser.parse_args()
    warm.warm_up()
    counts: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="writers-") as place:
        for trial in trials(Study(Path(place)), chosen.stages or list(COMMANDS), chosen.kinds, chosen.minutes):
            for name, counted in (("tried", True), ("lost", trial.lost), ("wrong", trial.wrong)):
                counts[trial.stage, trial.kind, name] += bool(counted)
            if trial.lost or trial.wrong:
                print(trial, flush=True)
    print(f"{'stage':10} {'fault':7} {'tried':>6} {'lost':>6} {'wrong':>6}")
    for stage, kind in dict.fromkeys((stage, kind) for stage, kind, _ in counts):
        row = [counts[stage, kind, name] for name in ("tried", "lost", "wrong")]
        print(f"{stage:10} {kind:7} {row[0]:6} {row[1]:6} {row[2]:6}")
    total = {name: sum(n for (*_, key), n in counts.items() if key == name) for name in ("tried", "lost", "wrong")}
    print(f"{total['tried']} faults tried, {total['lost']} runs lost, {total['wrong']} not as they should be")
    return int(bool(total["lost"] or total["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
