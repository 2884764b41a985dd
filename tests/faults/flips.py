"""One flipped byte in each file that decides a number: `python tests/faults/flips.py [--flips 2000] [--commands 30]`.

Each flip must be refused in one line, be repaired with one line, or leave identical numbers. The readers are called in
this process; for the commands the whole command line runs. The counts are printed for each kind of file, and the exit
code is 1 when a number changed or a traceback was printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.flipped_files import Target, flipped, targets
from simclr_med.errors import UserError

FIT = ("schedule.warmup_epochs=0", "stage.epochs=1")
OUTCOMES = ("refused", "repaired", "identical", "WRONG", "TRACEBACK")


def try_flip(target: Target, expected: str, draw: random.Random) -> tuple[str, str]:
    """Flip one byte and return (outcome, detail); the file is whole again afterwards."""
    said = io.StringIO()
    with flipped(target.path, draw) as where, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            found = target.read()
        except (UserError, ValueError) as error:
            lines = str(error).splitlines()
            is_clear = isinstance(error, UserError) or target.path.name == "predictions.npz"
            return ("refused" if is_clear and len(lines) == 1 else "TRACEBACK"), f"{where}: {error}"
        except Exception as error:
            return "TRACEBACK", f"{where}: {type(error).__name__}: {error}"
    if found != expected:
        return "WRONG", where
    return ("repaired" if "damaged file" in said.getvalue() else "identical"), where


def try_flips(places: dict[str, Target], flips: int, seed: int = 0) -> Iterator[tuple[str, str, str]]:
    """Yield (kind of file, outcome, detail) of flips drawn by a seed, the same number for each kind."""
    draw = random.Random(seed)
    for kind, target in places.items():
        expected = target.read()
        for _ in range(flips // len(places)):
            yield kind, *try_flip(target, expected, draw)
        assert target.read() == expected


class Commands:
    """Runs the command line on runs in a folder, and flips files in between.

    Args:
        place: an empty folder.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.runs, self.npz = place, place / "runs", place / "cells.npz"
        generator = np.random.default_rng(0)
        content = {}
        for split, count in (("train", 64), ("val", 32), ("test", 32)):
            content[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28, 3), np.uint8)
            content[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
        np.savez(self.npz, **content)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        usual = ("encoder=tiny", "logger=none", "trainer=cpu", "trainer.threads=1", f"paths.runs={self.runs}")
        data = () if "stage=report" in words else ("dataset=npz", f"dataset.path={self.npz}", *usual[:4])
        environment = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.place / "cache")}
        return subprocess.run(
            [sys.executable, "-m", "simclr_med", *words, *data, usual[4]],
            cwd=self.place,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def prepare(self) -> None:
        """Make the runs that `targets` names."""
        for words in (PRETRAIN, PROBE, FINETUNE):
            done = self.run(*words)
            assert done.returncode == 0, done.stderr

    def numbers(self, stage: str) -> Any:
        """Return the metrics of the one run of a stage; for pretrain the hash of its encoder."""
        (path,) = self.runs.glob(f"{stage}/*/*/result.json")
        result = json.loads(path.read_text(encoding="utf-8"))
        return result["provenance"]["encoder_hash"] if stage == "pretrain" else result["metrics"]


PRETRAIN = ("stage=pretrain", "stage.batch_size=16", "keep=all", "stage.checkpoint_every_s=0", *FIT)
PROBE = ("stage=probe", "init=pretrained", "stage.resamples=0")
FINETUNE = (
    "stage=finetune",
    "stage.min_steps=0",
    "init=pretrained",
    "stage.projection_layers=1",
    "stage.resamples=0",
    *FIT,
)


def command_cases(bench: Commands) -> dict[str, tuple[Target, tuple[str, ...], str]]:
    """Return kind of file -> (its target, the command that reads it, the stage whose numbers must stay)."""
    places = targets(bench.runs, bench.npz)
    probe = next(bench.runs.glob("probe/*/*"))
    tuned = next(bench.runs.glob("finetune/*/*"))
    test = ("stage=test", "stage.resamples=0", "overwrite=true")
    return {
        "encoder of a probe": (places["encoder of a probe"], (*PROBE, "overwrite=true"), "probe"),
        "finetuned encoder": (places["finetuned encoder"], (*test, f"stage.run={tuned}"), "test"),
        "head": (places["head"], (*test, f"stage.run={probe}"), "test"),
        "projection head": (places["projection head"], (*FINETUNE, "overwrite=true"), "finetune"),
        "predictions": (places["predictions"], ("stage=report",), ""),
        "features cache": (places["features cache"], (*PROBE, "overwrite=true"), "probe"),
        "last.ckpt": (places["last.ckpt"], PRETRAIN, "pretrain"),
    }


def try_command(bench: Commands, kind: str, draw: random.Random) -> tuple[str, str]:
    """Flip one byte of a kind of file, run the command that reads it, and return (outcome, detail)."""
    target, words, stage = command_cases(bench)[kind]
    kept = bench.place / "kept"
    shutil.copytree(bench.runs, kept)
    if stage == "test":
        assert bench.run(*words).returncode == 0
    expected = bench.numbers(stage) if stage else None
    if kind == "last.ckpt":  # a run that was stopped after its last save
        (target.path.parents[1] / "result.json").unlink()
    with flipped(target.path, draw) as where:
        done = bench.run(*words)
        page = bench.runs / "report" / "all" / "report.html"
        text = done.stdout + done.stderr + (page.read_text(encoding="utf-8") if not stage else "")
        numbers = bench.numbers(stage) if stage and done.returncode == 0 else None
    shutil.rmtree(bench.runs)
    kept.rename(bench.runs)
    lines = [line for line in text.splitlines() if target.path.name in line]
    detail = f"{where}: exit {done.returncode}: {(done.stderr.strip() or ' '.join(lines[:1]))[-300:]}"
    if "Traceback" in text:
        return "TRACEBACK", detail
    if not stage:
        return ("refused" if done.returncode == 0 and "has changed since the run finished" in text else "WRONG"), detail
    if done.returncode:
        return ("refused" if done.returncode == 1 and len(done.stderr.splitlines()) == 1 else "WRONG"), detail
    if numbers != expected:
        return "WRONG", detail
    return ("repaired" if "damaged" in text else "identical"), detail


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=2000, help="read in this process")
    parser.add_argument("--commands", type=int, default=28, help="read by the command line")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # the networks are tiny
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="flips-") as place:
        os.environ["XDG_CACHE_HOME"] = f"{place}/cache"
        bench = Commands(Path(place))
        bench.prepare()
        for kind, outcome, detail in try_flips(targets(bench.runs, bench.npz), chosen.flips, chosen.seed):
            counts.setdefault(kind, Counter())[outcome] += 1
            if outcome.isupper():
                print(f"{kind}: {outcome}: {detail}", flush=True)
        draw = random.Random(chosen.seed)
        kinds = list(command_cases(bench))
        for number in range(chosen.commands):
            kind = kinds[number % len(kinds)]
            outcome, detail = try_command(bench, kind, draw)
            counts.setdefault(f"{kind}, command", Counter())[outcome] += 1
            print(f"{kind}, command: {outcome}: {detail.replace(place, '')}", flush=True)
    print(f"{'file':32}" + "".join(f"{name:>11}" for name in OUTCOMES))
    for kind, found in counts.items():
        print(f"{kind:32}" + "".join(f"{found[name]:11}" for name in OUTCOMES))
    return int(any(found["WRONG"] or found["TRACEBACK"] for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
