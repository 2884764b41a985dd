"""Kills and signals, at random moments and at awkward ones."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from faults.bench import Bench, Done, Outcome, ended, folder, wait_for
from simclr_med.metrics_csv import read_rows

KILLS = 20


def kills(bench: Bench, count: int = KILLS) -> Iterator[Outcome]:
    """SIGKILL at random moments, one run each: soon after a random epoch or the making of its folder."""
    choose = random.Random(0)
    for number in range(count):
        runs = bench.place / f"killed{number}"
        hit, epochs = Done(0, "", ""), 0
        while hit.code != -signal.SIGKILL:  # a run that ended before the moment came is no kill: choose again
            subprocess.run(["rm", "-rf", str(runs)], check=True)
            epochs, wait = choose.randint(0, bench.epochs), choose.uniform(0, 0.5)
            process = bench.start(runs)
            wait_for(runs, process, "pretrain/*/*")
            while process.poll() is None and len(read_rows(folder(runs) / "metrics.csv")) < epochs:
                time.sleep(0.002)
            time.sleep(wait if epochs else 10 * wait)
            process.send_signal(signal.SIGKILL)
            hit = ended(process, time.monotonic())
        stage = _reached(folder(runs))
        yield bench.outcome(f"SIGKILL {stage}", runs, hit, (-signal.SIGKILL,))


def overwriting(bench: Bench) -> Iterator[Outcome]:
    """SIGKILL while overwrite=true removes a finished run: no finished run may be left that lacks its files."""
    for number in range(3):
        runs = bench.place / f"overwritten{number}"
        assert bench.run(runs).code == 0
        run = folder(runs)
        for extra in range(20_000):  # something to remove, so that the moment can be met
            (run / "figures" / f"{extra}.png").touch()
        process = bench.start(runs, "overwrite=true")
        while process.poll() is None and (run / "result.json").exists():
            time.sleep(0.0005)
        time.sleep(0.02 * number)
        process.send_signal(signal.SIGKILL)
        hit = ended(process, time.monotonic())
        for extra in run.glob("figures/[0-9]*.png"):
            extra.unlink()
        yield bench.outcome("SIGKILL while overwrite=true removes", runs, hit, (-signal.SIGKILL,))


def signals(bench: Bench) -> Iterator[Outcome]:
    """SIGTERM and SIGINT: while starting, while training, twice in a row, while waiting for another process."""
    for sent, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        # Before Python itself has a handler, a signal ends the process by the system's own hand.
        own_hand = (code, -sent)
        for moment, pattern in (("starting", "cache"), ("training", "runs/pretrain/*/*/checkpoints/last.ckpt")):
            top = bench.place / f"{sent.name} {moment}"
            top.mkdir()
            process = bench.start(top / "runs", XDG_CACHE_HOME=str(top / "cache"))
            if moment == "starting":
                time.sleep(2.0)
            else:
                wait_for(top, process, pattern)
            hit = stopped(process, sent)
            expected = own_hand if moment == "starting" else (code,)
            fault = f"{sent.name} while {moment}, {hit.seconds:.1f} s to its end"
            yield bench.outcome(fault, top / "runs", hit, expected)
        runs = bench.place / f"{sent.name} twice"
        process = bench.start(runs)
        wait_for(runs, process, "pretrain/*/*/checkpoints/last.ckpt")
        process.send_signal(sent)
        time.sleep(0.05)
        hit = stopped(process, sent)
        yield bench.outcome(f"{sent.name} twice", runs, hit, own_hand)
        runs = bench.place / f"{sent.name} waiting"
        first = bench.start(runs, "stage.checkpoint_every_s=1000")
        wait_for(runs, first, "pretrain/*/*/metrics.csv")
        os.kill(first.pid, signal.SIGSTOP)
        second = bench.start(runs)
        assert second.stdout is not None
        line = second.stdout.readline()
        hit = stopped(second, sent)
        os.kill(first.pid, signal.SIGCONT)
        ended(first, time.monotonic())
        wrong = () if line.startswith(f"Waiting for process {first.pid} on ") else (f"said: {line}",)
        outcome = bench.outcome(f"{sent.name} while waiting for another process", runs, hit, own_hand)
        yield Outcome(outcome.fault, outcome.code, line.strip(), outcome.lost, (*outcome.wrong, *wrong))


def stopped(process: subprocess.Popen[str], sent: signal.Signals) -> Done:
    began = time.monotonic()
    process.send_signal(sent)
    return ended(process, began)


def _reached(run: Path) -> str:
    """How far a run had come, in words."""
    half = [str(path.relative_to(run)) for path in run.rglob(".*.tmp")]
    message = f", {', '.join(half)} half written" if half else ""
    for name in ("result.json", "figures/views.png", "figures/training.png", "encoder.safetensors"):
        if (run / name).exists():
            return f"when {name} was there{message}"
    return f"after {len(read_rows(run / 'metrics.csv'))} epochs{message}"
