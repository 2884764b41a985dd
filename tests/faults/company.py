"""Several processes at once, locks that others left, and clocks that go back."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from faults.bench import Bench, Outcome, ended, folder, lasting, wait_for
from faults.damage import killed_late
from simclr_med.metrics_csv import read_rows

MANY = 8
# A set that is served from here, by medmnist's own reader.
YAML = """defaults:
  - /schema/dataset/medmnist@_here_
_target_: simclr_med.data.medmnist.MedMNIST
name: breastmnist
size: 28
root: ${paths.data}
verify: true
mirror_p: 0.5
info: """
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def locks(bench: Bench) -> Iterator[Outcome]:
    """Lock and owner files that dead processes left: with a number that another process has now, or of another host."""
    for name, owner in (
        ("of a dead process", "process 999999 on " + os.uname().nodename),
        ("with the number of a living process", "process 1 on " + os.uname().nodename),
        ("of another host", "process 1 on elsewhere"),
        ("empty", ""),
    ):
        runs = bench.place / f"lock {name}"
        run = killed_late(bench, runs)
        (lock,) = (runs / ".locks").glob("*.lock")
        assert run.name[-10:] == lock.name[:10]
        lock.with_suffix(".owner").write_text(owner)
        hit = bench.run(runs)
        wrong = [f"waited: {hit.out}"] if hit.says("Waiting") else []
        outcome = bench.outcome(f"a stale lock {name}", runs, hit, (0,))
        yield Outcome(outcome.fault, outcome.code, outcome.line, outcome.lost, (*outcome.wrong, *wrong))


def one_run(bench: Bench) -> Iterator[Outcome]:
    """Eight processes start the same run: one does it, seven wait and find it finished."""
    runs = bench.place / "together"
    began = time.monotonic()
    several = [bench.start(runs) for _ in range(MANY)]
    done = [ended(process, began) for process in several]
    did = sum("Pretraining on" in one.out for one in done)
    found = sum("Already finished, skipping" in one.out for one in done)
    wrong = [] if (did, found) == (1, MANY - 1) else [f"{did} did it, {found} found it finished"]
    wrong += [one.err for one in done if one.code != 0]
    outcome = bench.outcome("eight processes, one run", runs, max(done, key=lambda one: one.code), (0,))
    line = f"{did} did it, {found} found it finished"
    yield Outcome(outcome.fault, outcome.code, line, outcome.lost, (*outcome.wrong, *wrong))


def one_killed(bench: Bench) -> Iterator[Outcome]:
    """Three processes want the same run, and the one that does it is killed: another one goes on."""
    runs = bench.place / "handed on"
    first = bench.start(runs)
    wait_for(runs, first, "pretrain/*/*/checkpoints/last.ckpt")
    os.kill(first.pid, 19)  # stopped until the others wait
    others = [bench.start(runs) for _ in range(2)]
    waiting = [other.stdout.readline() for other in others if other.stdout]
    first.kill()
    ended(first, time.monotonic())
    done = [ended(other, time.monotonic()) for other in others]
    resumed = sum("resuming from epoch" in one.out for one in done)
    found = sum("Already finished, skipping" in one.out for one in done)
    wrong = [f"{resumed} went on, {found} found it finished"] if (resumed, found) != (1, 1) else []
    wrong += [line for line in waiting if not line.startswith("Waiting for process")]
    outcome = bench.outcome("the process that others wait for is killed", runs, done[0], (0,))
    line = f"{resumed} went on, {found} found it finished"
    yield Outcome(outcome.fault, outcome.code, line, outcome.lost, (*outcome.wrong, *wrong))


def one_download(bench: Bench) -> Iterator[Outcome]:
    """Eight runs need the same file: it is fetched once."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 96), ("val", 24), ("test", 24)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    made = bench.place / "made.npz"
    np.savez(made, **arrays)  # type: ignore[arg-type]
    with _served(made.read_bytes()) as (url, asked):
        facts = {
            "task": "binary-class",
            "labels": {"0": "malignant", "1": "normal"},
            "n_channels": 1,
            "n_samples": {"train": 96, "val": 24, "test": 24},
            "url": url,
            "md5": hashlib.md5(made.read_bytes(), usedforsecurity=False).hexdigest(),
        }
        option = bench.place / "conf" / "dataset" / "served.yaml"
        option.parent.mkdir(parents=True)
        option.write_text(YAML + json.dumps(facts) + "\n")
        runs, began = bench.place / "downloading", time.monotonic()
        conf = f"--config-dir={bench.place / 'conf'}"
        words = (conf, "dataset=served", "data_fraction=full", f"paths.data={bench.place / 'data'}")
        several = [bench.start(runs, *words, f"seed={seed}") for seed in range(MANY)]
        done = [ended(process, began) for process in several]
        line = f"fetched {len(asked)} times by {MANY} processes"
        wrong = [one.err.strip()[-300:] for one in done if one.code != 0]
        wrong += [line] if len(asked) != 1 else []
        alone = bench.run(bench.place / "alone", *words, "seed=3")
        same = _same(bench.place / "alone", runs, "seed3") if alone.code == 0 and not wrong else False
        yield Outcome("eight processes, one download", max(one.code for one in done), line, not same, wrong)


def clocks(bench: Bench) -> Iterator[Outcome]:
    """The wall clock, set back before a run goes on and in the middle of it."""
    fake = {"LD_PRELOAD": str(FAKETIME[0]), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
    for name, offset in (("a day", "-1d"), ("20 years", "-20y")):
        runs = bench.place / f"back {name}"
        killed_late(bench, runs)
        hit = bench.run(runs, **fake, FAKETIME=offset)
        yield bench.outcome(f"clock set back {name} before the resume", runs, hit, (0,))
    runs, setting = bench.place / "back within", bench.place / "clock"
    setting.write_text("+0")
    process = bench.start(runs, **fake, FAKETIME_TIMESTAMP_FILE=str(setting))
    began = time.monotonic()
    wait_for(runs, process, "pretrain/*/*/checkpoints/last.ckpt")
    (bench.place / "clock.new").write_text("-2d")
    os.replace(bench.place / "clock.new", setting)
    hit = ended(process, began)
    outcome = bench.outcome("clock set back two days while it runs", runs, hit, (0,))
    seconds = [float(row["wall_s"]) for row in read_rows(folder(runs) / "metrics.csv")]
    wrong = [] if seconds == sorted(seconds) and seconds[0] > 0 else [f"wall_s goes back: {seconds}"]
    yield Outcome(outcome.fault, outcome.code, outcome.line, outcome.lost, (*outcome.wrong, *wrong))


def _same(alone: Path, several: Path, seed: str) -> bool:
    one = folder(alone)
    two = next(run for run in several.glob("pretrain/*/*") if seed in run.name)
    equal = (one / "encoder.safetensors").read_bytes() == (two / "encoder.safetensors").read_bytes()
    return equal and lasting(one / "metrics.csv") == lasting(two / "metrics.csv")


@contextmanager
def _served(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """A loopback server of one file, slow enough for all to ask; and the requests that came."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for start in range(0, len(content), len(content) // 20 + 1):
                self.wfile.write(content[start : start + len(content) // 20 + 1])
                time.sleep(0.5)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/made.npz", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
