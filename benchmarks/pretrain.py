"""Pretraining speed of the real command against what a user would otherwise run, in one run on one machine.

    python benchmarks/pretrain.py [--data FILE.npz] [--repeats 3] [--peers original lightly] [--json FILE]

Every system runs as a whole process, one after the other, over and over (A B C, A B C, ...), on the same images; ours
for --epochs, as long as a short real run, a peer for --peer-epochs. Three rates each, in images (one is two views):
    whole   a second of the process's wall time, its start and its end included
    step    a second of the training steps alone: ours the median epoch of result.json, a peer's without its first step
    cpu     a second of CPU time of the process and its workers: what other programs on the machine disturb least
Our command also looks at the validation split, saves, exports and draws its figures, which the peers do not; that is in
its whole-process time, and so few images give start and end their greatest share. The ratios are medians over the
rounds of ours / peer within one round. The defaults take minutes, nearly all of them the peers'.
Without --data the images are drawn at random.
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
from machine import header
from processes import whole_process
from rich.console import Console
from rich.table import Table
from spread import spread, told

HERE = Path(__file__).parent
OURS = "simclr-med"
PEERS = {"original": HERE / "original.py", "lightly": HERE / "lightly_peer.py"}
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


def our_command(given: argparse.Namespace, data: Path, runs: Path) -> list[str]:
    """The real command, as a user types it."""
    return [
        *(sys.executable, "-m", "simclr_med.cli.main", "stage=pretrain", "dataset=npz", f"dataset.path={data}"),
        *(f"encoder={given.encoder}", f"augmentation={given.augmentation}", f"stage.epochs={given.epochs}"),
        *(f"stage.batch_size={given.batch_size}", "logger=none", f"paths.runs={runs}"),
    ]


def peer_command(given: argparse.Namespace, script: Path, data: Path) -> list[str]:
    """A peer, for its own number of epochs."""
    return [
        *(sys.executable, str(script), str(data), f"--batch-size={given.batch_size}"),
        *(f"--steps={steps(given, given.peer_epochs)}",),
        *(f"--augmentation={given.augmentation}", f"--encoder={given.encoder}"),
    ]


def steps(given: argparse.Namespace, epochs: int) -> int:
    """Optimizer steps of one process; a rest of the images smaller than a batch is left out of each epoch."""
    return epochs * (given.images // given.batch_size)


def measure_ours(given: argparse.Namespace, data: Path, folder: Path) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        wall_s, cpu_s, _ = whole_process(our_command(given, data, Path(runs)), folder)
        (result,) = Path(runs).glob("pretrain/*/*/result.json")
        rate = json.loads(result.read_text(encoding="utf-8"))["timing"]["images_per_s"]
    images = steps(given, given.epochs) * given.batch_size
    return Measured(OURS, wall_s, cpu_s, images, images / wall_s, rate, images / cpu_s)


def measure_peer(given: argparse.Namespace, name: str, data: Path, folder: Path) -> Measured:
    wall_s, cpu_s, printed = whole_process(peer_command(given, PEERS[name], data), folder)
    noted = json.loads(printed.splitlines()[-1])
    images = noted["images_trained"]
    return Measured(name, wall_s, cpu_s, images, images / wall_s, noted["images_per_s"], images / cpu_s)


def measure(given: argparse.Namespace, say: Callable[[str], None]) -> list[list[Measured]]:
    """The rounds, each with one process of every system, ours first."""
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "images.npz"
        write_data(data, given.data, given.images, given.side)
        for number in range(given.repeats):
            done = [measure_ours(given, data, folder)]
            done += [measure_peer(given, peer, data, folder) for peer in given.peers]
            rounds.append(done)
            say(f"round {number + 1} of {given.repeats}: " + ", ".join(f"{m.system} {m.wall_s:.1f} s" for m in done))
    return rounds


def rates(rounds: list[list[Measured]]) -> dict[str, dict[str, dict[str, float]]]:
    """system -> rate -> min, median and max over the rounds."""
    return {
        each[0].system: {rate: spread([getattr(measured, rate) for measured in each]) for rate in RATES}
        for each in zip(*rounds, strict=True)
    }


def ratios(rounds: list[list[Measured]]) -> dict[str, dict[str, dict[str, float]]]:
    """peer -> rate -> min, median and max over the rounds of ours / peer within the same round."""
    ours, *peers = zip(*rounds, strict=True)
    return {
        each[0].system: {
            rate: spread([getattr(a, rate) / getattr(b, rate) for a, b in zip(ours, each, strict=True)])
            for rate in RATES
        }
        for each in peers
    }


def table(report: dict[str, Any]) -> Table:
    """The rates and the ratios: median (min-max)."""
    title = f"{report['images']} images an epoch, {report['repeats']} rounds: median (min-max)"
    made = Table("system", "whole images/s", "step images/s", "images/CPU s", title=title)
    for system, found in report["rates"].items():
        made.add_row(system, *(told(found[rate], 1) for rate in RATES))
    made.add_section()
    for peer, found in report["ratios"].items():
        made.add_row(f"ours / {peer}", *(told(found[rate], 2) for rate in RATES))
    return made


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pretraining speed against what a user would otherwise run.")
    parser.add_argument("--data", type=Path, help=".npz in MedMNIST's layout to take the images from")
    parser.add_argument("--images", type=int, default=2560, help="training images that every system gets")
    parser.add_argument("--side", type=int, default=28, help="pixels; without --data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=30, help="ours; from 3 on, the median epoch is not the first")
    parser.add_argument("--peer-epochs", type=int, default=3, help="a peer's, whose steps take several times as long")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--encoder", choices=("resnet18", "resnet34", "resnet50"), default="resnet18")
    parser.add_argument("--augmentation", choices=("natural", "simple", "novel", "greyscale"), default="novel")
    parser.add_argument("--json", type=Path, help="also write everything measured here")
    given = parser.parse_args(words)
    if given.repeats < 1:
        parser.error(f"--repeats {given.repeats}: must be at least 1.")
    if given.data is not None:
        given.data = given.data.absolute()
        with np.load(given.data, allow_pickle=False) as file:
            given.images = min(given.images, len(file["train_images"]))
    fewest = min(steps(given, epochs) for epochs in (given.epochs, given.peer_epochs))
    if fewest < 2:
        parser.error(f"{fewest} steps: must be at least 2. Raise --images or the epochs, or lower --batch-size.")
    return given


def main() -> None:
    given = arguments()
    console = Console()
    report: dict[str, Any] = header(console) | {"repeats": given.repeats}
    rounds = measure(given, console.print)
    report |= {"images": given.images, "rates": rates(rounds), "ratios": ratios(rounds)}
    console.print(table(report))
    if given.json is not None:
        measured = [[each._asdict() for each in done] for done in rounds]
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
        report |= {"settings": settings, "rounds": measured}
        given.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
