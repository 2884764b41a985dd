"""Pretraining speed of the real command against two alternatives, measured together on one machine.

    python benchmarks/pretrain.py [--data FILE.npz] [--repeats 3] [--peers original lightly] [--json FILE]

Every system runs as a process of its own, in turns (A B C, A B C, ...), on the same images: ours for --epochs, which is
a short real run, an alternative (peer) for --peer-epochs. Three rates each, in images (one image is two views):
    whole   per second of the process's wall time, including its start and end
    step    per second of the training steps: ours is the median epoch of result.json, a peer's excludes its first step
    cpu     per second of CPU time of the process and its workers, which other programs disturb least
Our command also validates, saves, exports and draws figures, which the peers do not; its whole-process time includes
this, and with few images the start and the end have a large share. The ratios are medians over the rounds of ours /
peer within one round. The defaults take minutes, mostly for the peers. Without --data the images are random.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from images import write_data
from machine import print_header
from processes import time_process
from rich.console import Console
from rich.table import Table
from spread import format_spread, spread

HERE = Path(__file__).parent
OURS = {"simclr-med": "auto", "simclr-med, 32-true": "32-true"}  # trainer.precision
PEERS: dict[str, tuple[str, ...]] = {
    "original": ("original.py",),
    "lightly": ("lightly_peer.py",),
    "lightly, bf16": ("lightly_peer.py", "--bf16"),
}
RATES = ("whole", "step", "cpu")


class Measured(NamedTuple):
    """One process: its wall and CPU time, the images it trained on, and its three rates."""

    system: str
    wall_s: float
    cpu_s: float
    images: int
    whole: float
    step: float
    cpu: float


def build_our_command(given: argparse.Namespace, precision: str, data: Path, runs: Path) -> list[str]:
    """Return the real command as a user types it."""
    return [
        *(sys.executable, "-m", "simclr_med.cli.main", "stage=pretrain", "dataset=npz", f"dataset.path={data}"),
        *(f"encoder={given.encoder}", f"augmentation={given.augmentation}", f"stage.epochs={given.epochs}"),
        *(f"stage.batch_size={given.batch_size}", "logger=none", f"paths.runs={runs}"),
        f"trainer.precision={precision}",
    ]


def build_peer_command(given: argparse.Namespace, peer: str, data: Path) -> list[str]:
    """Return the command of a peer with its own number of epochs."""
    script, *flags = PEERS[peer]
    return [
        *(sys.executable, str(HERE / script), str(data), *flags, f"--batch-size={given.batch_size}"),
        f"--steps={count_steps(given, given.peer_epochs)}",
        *(f"--augmentation={given.augmentation}", f"--encoder={given.encoder}"),
    ]


def count_steps(given: argparse.Namespace, epochs: int) -> int:
    """Return the optimizer steps of one process; incomplete batches are dropped."""
    return epochs * (given.images // given.batch_size)


def measure_ours(given: argparse.Namespace, name: str, data: Path, folder: Path) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        wall_s, cpu_s, _ = time_process(build_our_command(given, OURS[name], data, Path(runs)), folder)
        (result,) = Path(runs).glob("pretrain/*/*/result.json")
        rate = json.loads(result.read_text(encoding="utf-8"))["timing"]["images_per_s"]
    images = count_steps(given, given.epochs) * given.batch_size
    return Measured(name, wall_s, cpu_s, images, images / wall_s, rate, images / cpu_s)


def measure_peer(given: argparse.Namespace, name: str, data: Path, folder: Path) -> Measured:
    wall_s, cpu_s, printed = time_process(build_peer_command(given, name, data), folder)
    reported = json.loads(printed.splitlines()[-1])
    images = reported["images_trained"]
    return Measured(name, wall_s, cpu_s, images, images / wall_s, reported["images_per_s"], images / cpu_s)


def measure(given: argparse.Namespace, log: Callable[[str], None]) -> list[list[Measured]]:
    """Return the rounds, each with one process of every system: ours by default, ours in float32, the peers."""
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "images.npz"
        write_data(data, given.data, given.images, given.side)
        for number in range(given.repeats):
            done = [measure_ours(given, system, data, folder) for system in OURS]
            done += [measure_peer(given, peer, data, folder) for peer in given.peers]
            rounds.append(done)
            log(f"round {number + 1} of {given.repeats}: " + ", ".join(f"{m.system} {m.wall_s:.1f} s" for m in done))
    return rounds


def compute_rates(rounds: list[list[Measured]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return system -> rate -> min, median and max over the rounds."""
    return {
        each[0].system: {rate: spread([getattr(measured, rate) for measured in each]) for rate in RATES}
        for each in zip(*rounds, strict=True)
    }


def compute_ratios(rounds: list[list[Measured]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return system -> rate -> min, median and max over the rounds of (ours in its default precision) / system."""
    ours, *peers = zip(*rounds, strict=True)
    return {
        each[0].system: {
            rate: spread([getattr(a, rate) / getattr(b, rate) for a, b in zip(ours, each, strict=True)])
            for rate in RATES
        }
        for each in peers
    }


def build_table(report: dict[str, Any]) -> Table:
    """Return the table of the rates and the ratios: median (min-max)."""
    title = f"{report['images']} images per epoch, {report['repeats']} rounds: median (min-max)"
    table = Table("system", "whole images/s", "step images/s", "images/CPU s", title=title)
    for system, rates in report["rates"].items():
        table.add_row(system, *(format_spread(rates[rate], 1) for rate in RATES))
    table.add_section()
    for peer, ratios in report["ratios"].items():
        table.add_row(f"ours / {peer}", *(format_spread(ratios[rate], 2) for rate in RATES))
    return table


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pretraining speed against alternatives.")
    parser.add_argument("--data", type=Path, help=".npz in MedMNIST's layout with the images")
    parser.add_argument("--images", type=int, default=2560, help="training images of every system")
    parser.add_argument("--side", type=int, default=28, help="side of the random images in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument(
        "--epochs", type=int, default=30, help="of our command; at least 3, so that the first is not the median"
    )
    parser.add_argument("--peer-epochs", type=int, default=3, help="of a peer, whose steps take several times as long")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--encoder", choices=("resnet18", "resnet34", "resnet50"), default="resnet18")
    parser.add_argument("--augmentation", choices=("natural", "simple", "novel", "greyscale"), default="novel")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    given = parser.parse_args(argv)
    if given.repeats < 1:
        parser.error(f"--repeats={given.repeats}: expected an integer >= 1.")
    if given.data is not None:
        given.data = given.data.absolute()
        with np.load(given.data, allow_pickle=False) as file:
            given.images = min(given.images, len(file["train_images"]))
    fewest = min(count_steps(given, epochs) for epochs in (given.epochs, given.peer_epochs))
    if fewest < 2:
        parser.error(f"{fewest} steps: expected at least 2. Increase --images or the epochs, or reduce --batch-size.")
    return given


def main() -> None:
    given = parse_arguments()
    console = Console()
    report: dict[str, Any] = print_header(console) | {"repeats": given.repeats}
    rounds = measure(given, console.print)
    report |= {"images": given.images, "rates": compute_rates(rounds), "ratios": compute_ratios(rounds)}
    console.print(build_table(report))
    if given.json is not None:
        measured = [[each._asdict() for each in done] for done in rounds]
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
        report |= {"settings": settings, "rounds": measured}
        given.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
