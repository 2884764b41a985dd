"""Files that are damaged, gone or of the wrong kind when a command begins or while it runs."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.bench import Bench, Done, Outcome, ended, folder, wait_for

OVERWRITE = "overwrite=true"


def killed_late(bench: Bench, runs: Path) -> Path:
    """The folder of a run that was killed with both its saved states there and at least three epochs done."""
    process = bench.start(runs, "keep=all")
    began = time.monotonic()
    wait_for(runs, process, "pretrain/*/*/checkpoints/previous.ckpt")
    process.send_signal(signal.SIGKILL)
    assert ended(process, began).code == -signal.SIGKILL
    return folder(runs)


def states(bench: Bench) -> Iterator[Outcome]:
    """Saved states cut short or overwritten: the last one, both, and none there at all."""
    for name, change in (("cut in half", _halved), ("empty", _emptied), ("a flipped byte", _flipped)):
        runs = bench.place / f"last {name}"
        change(killed_late(bench, runs) / "checkpoints" / "last.ckpt")
        hit = bench.run(runs)
        outcome = bench.outcome(f"last.ckpt {name}", runs, hit, (0,))
        yield said(outcome, hit, "Resuming from previous.ckpt")
    runs = bench.place / "both states"
    for name in ("last.ckpt", "previous.ckpt"):
        _halved((folder(runs) if runs.exists() else killed_late(bench, runs)) / "checkpoints" / name)
    hit = bench.run(runs)
    yield said(bench.outcome("both states cut in half", runs, hit, (1,), OVERWRITE), hit, "overwrite=true")
    runs = bench.place / "twice"
    run = killed_late(bench, runs)
    _halved(run / "checkpoints" / "last.ckpt")
    process = bench.start(runs)
    wait_for(run, process, "checkpoints/last.ckpt")  # it makes a new one beside the good one before
    _halved(run / "checkpoints" / "last.ckpt")
    process.send_signal(signal.SIGKILL)
    ended(process, time.monotonic())
    _halved(run / "checkpoints" / "last.ckpt")
    hit = bench.run(runs)
    outcome = bench.outcome("last.ckpt damaged, and damaged again", runs, hit, (0,))
    yield said(outcome, hit, "Resuming from previous.ckpt")


def metrics(bench: Bench) -> Iterator[Outcome]:
    """metrics.csv cut within a line, filled with zeros at its end, emptied, without its header, and gone."""
    changes: dict[str, Callable[[Path], None]] = {
        "cut in half a line": lambda path: _cut(path, 0.8),
        "ending in zeros": lambda path: path.write_bytes(path.read_bytes()[:-300] + bytes(300)),
        "empty": _emptied,
        "with a damaged header": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()[2:]),
        "gone": Path.unlink,
    }
    for name, change in changes.items():
        runs = bench.place / f"metrics {name}"
        change(killed_late(bench, runs) / "metrics.csv")
        hit = bench.run(runs)
        yield bench.outcome(f"metrics.csv {name}", runs, hit, (0,))
    runs = bench.place / "metrics at the end"
    process = bench.start(runs)
    wait_for(runs, process, "pretrain/*/*/encoder.safetensors")
    process.send_signal(signal.SIGKILL)
    ended(process, time.monotonic())
    _cut(folder(runs) / "metrics.csv", 0.95)
    yield bench.outcome("metrics.csv cut after the last epoch", runs, bench.run(runs), (0,))


def results(bench: Bench) -> Iterator[Outcome]:
    """result.json and config.yaml of a finished run, and a removal that was cut short."""
    # Without its result.json a run is an unfinished one.
    changes: dict[str, dict[str, Callable[[Path], None]]] = {
        "result.json cut in half": {"result.json": _halved},
        "result.json a list": {"result.json": lambda path: _becomes(path, "[]")},
        "config.yaml of an unfinished run unreadable": {
            "result.json": Path.unlink,
            "config.yaml": lambda path: _becomes(path, "a: [b: {"),
        },
        "encoder.safetensors cut in half, no result.json": {"result.json": Path.unlink, "encoder.safetensors": _halved},
    }
    for name, change in changes.items():
        runs = bench.place / name
        shutil.copytree(bench.whole, bench.folder_in(runs))
        for file, how in change.items():
            how(bench.folder_in(runs) / file)
        hit = bench.run(runs)
        outcome = bench.outcome(name, runs, hit, (0,))
        yield said(outcome, hit, "unreadable. The run is repeated.") if name.startswith("result.json") else outcome
    for name, text in (("unreadable", "a: [b: {"), ("cut short", "seed: 0\n"), ("empty", "")):
        runs = bench.place / f"config {name}"
        shutil.copytree(bench.whole, bench.folder_in(runs))
        _becomes(bench.folder_in(runs) / "config.yaml", text)
        hit = bench.run(runs, "init=pretrained", "seed=1", "init.seed=0", "init.augmentation=microscopy")
        wrong = ["a traceback on the terminal"] if hit.says("Traceback") else []
        wrong += [] if hit.says("is unreadable. The run is ignored") else [hit.err]
        message = hit.err.strip().splitlines()[-1]
        yield Outcome(f"init=pretrained, config.yaml {name}", hit.code, message, hit.code not in (1, 2), wrong)


def places(bench: Bench) -> Iterator[Outcome]:
    """Folders that are files, or that vanish while a run is in them."""
    runs = bench.place / "a file"
    runs.write_text("")
    hit = bench.run(runs)
    runs.unlink()
    yield bench.outcome("paths.runs is a file", runs, hit, (1, 2))
    runs = bench.place / "run a file"
    bench.folder_in(runs).parent.mkdir(parents=True)
    bench.folder_in(runs).write_text("")
    hit = bench.run(runs)
    bench.folder_in(runs).unlink()
    yield bench.outcome("the run's folder is a file", runs, hit, (1,))
    for name, depth in (("run's folder", 0), ("runs folder", 3)):
        runs = bench.place / f"removed {name}"
        process = bench.start(runs)
        began = time.monotonic()
        wait_for(runs, process, "pretrain/*/*/checkpoints/previous.ckpt")
        gone = folder(runs)
        for _ in range(depth):
            gone = gone.parent
        while gone.exists():
            shutil.rmtree(gone, ignore_errors=True)
        hit = ended(process, began)
        yield said(
            bench.outcome(f"{name} removed while it runs", runs, hit, (1,)),
            hit,
            "the folder was removed during the run",
        )


def said(outcome: Outcome, hit: Done, words: str) -> Outcome:
    """The outcome, with a complaint when the command did not say so; its line is the one with these words."""
    line = next((line for line in (hit.out + hit.err).splitlines() if words in line), None)
    missing = () if line else (f"does not say: {words}",)
    return Outcome(outcome.fault, outcome.code, line or outcome.line, outcome.lost, (*outcome.wrong, *missing))


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _becomes(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _halved(path: Path) -> None:
    _cut(path, 0.5)


def _emptied(path: Path) -> None:
    _cut(path, 0)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
