"""Every speed figure that we give, measured in one run on this machine (make bench; some 13 minutes on two cores).

    python benchmarks/bench.py [--only peers parts ...] [--json FILE]

    peers       the real command's training step against what a user would otherwise run (pretrain.py, which says more)
    parts       the step's parts: load, augment, forward, loss, backward, optimizer, logging
    overhead    Lightning, logging and monitors at their defaults against a bare loop over the same pieces
    sizes       1k, 10k and 100k images: rate, memory, and where the time to the first step goes
    imports     which packages the start-up imports for how long
    scaling     images a second by the images' side, the batch and the encoder
Everything runs the real command in fresh processes. Wants a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import data_sizes
import imports
import overhead
import parts
import pretrain
import scaling
from images import write_data
from machine import Others, header
from processes import watched
from rich.console import Console
from rich.table import Table

Given = argparse.Namespace
QUIET_CORES = 0.1  # that other programs may keep busy before the figures are in doubt
BOUNDS = "ResNet-18, stock stem, 28 px, batch 256, augmentation=novel, 2 cores"


def peers(given: Given, folder: Path, console: Console) -> dict[str, Any]:
    here = [name for name in pretrain.PEERS if name != "lightly" or find_spec("lightly") is not None]
    if len(here) < len(pretrain.PEERS):
        console.print("lightly is not installed (the extra bench): measured without it.")
    words = [f"--images={given.peer_images}", f"--batch-size={given.batch_size}", f"--repeats={given.repeats}"]
    words += [f"--encoder={given.encoder}", "--epochs=3", "--peer-epochs=3", "--peers", *here]
    settings = pretrain.arguments(words)
    rounds = pretrain.measure(settings, console.print)
    report = {"images": settings.images, "repeats": settings.repeats}
    report |= {"rates": pretrain.rates(rounds), "ratios": pretrain.ratios(rounds)}
    console.print(pretrain.table(report))
    return report


def step_parts(given: Given, folder: Path, console: Console) -> dict[str, Any]:
    report: dict[str, Any] = watched("parts.py", [*_pretraining(given, folder), "stage.epochs=5"], folder)
    console.print(parts.table(report))
    return report | {"shares": parts.shares(report)}


def overheads(given: Given, folder: Path, console: Console) -> dict[str, Any]:
    report: dict[str, Any] = watched("overhead.py", [*_pretraining(given, folder), "stage.epochs=10"], folder)
    console.print(overhead.table(report))
    return report | {"percent": overhead.overheads(report)}


def sizes(given: Given, folder: Path, console: Console) -> dict[str, Any]:
    words = [f"encoder={given.encoder}", f"stage.batch_size={given.batch_size}"]
    report = data_sizes.measure(given.rounds, words, folder, console.print, given.sizes)
    console.print(data_sizes.table(report))
    return report


def imported(given: Given, folder: Path, console: Console) -> dict[str, Any]:
    words = [*_pretraining(given, folder), "encoder=tiny", "stage.epochs=1", "trainer.limit_steps=1"]
    report = imports.measure(words, folder)
    console.print(imports.table(report))
    return report


def moves(given: Given, folder: Path, console: Console) -> dict[str, Any]:
    report = {}
    sweeps = scaling.sweeps(folder, given.batch_size, given.encoder, given.sides, given.batches, given.encoders)
    for sweep in sweeps:
        report[sweep.name] = scaling.measure(sweep, given.rounds, folder)
        console.print(scaling.table(sweep.name, report[sweep.name]))
    return report


PARTS: dict[str, Callable[[Given, Path, Console], dict[str, Any]]] = {
    "peers": peers,
    "parts": step_parts,
    "overhead": overheads,
    "sizes": sizes,
    "imports": imported,
    "scaling": moves,
}


def _pretraining(given: Given, folder: Path) -> list[str]:
    """Words of the real command; what they do not say is at its default."""
    data = folder / "images.npz"
    if not data.exists():
        write_data(data, None, given.images, 28)
    words = ["stage=pretrain", "dataset=npz", f"dataset.path={data}", f"paths.runs={folder / 'runs'}"]
    return [*words, f"encoder={given.encoder}", f"stage.batch_size={given.batch_size}"]


def verdicts(report: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """What we hold ourselves to, as far as it was measured: (figure, found, bound, kept)."""
    found: list[tuple[str, float, str, bool]] = []
    for peer, least in (("original", 4.5), ("lightly", 3.5)):
        ratio = report.get("peers", {}).get("ratios", {}).get(peer)
        if ratio is not None:
            times = ratio["step"]["median"]
            found.append((f"training step, times {peer}'s", times, f"at least {least}", times >= least))
    if "parts" in report:
        share = report["parts"]["shares"][f"{parts.LOAD} and {parts.AUGMENT}"]["share"]["median"]
        found.append(("load and augment, % of the step", share, "at most 8", share <= 8))
    if "overhead" in report:
        above = report["overhead"]["percent"]["all"]["median"]
        found.append(("Lightning, logging and monitors, % above a bare loop", above, "at most 5", above <= 5))
    return found


def summary(report: dict[str, Any]) -> Table:
    made = Table("figure", "found", "bound", "kept", title=f"Bounds, which are for {BOUNDS}")
    for name, value, bound, kept in verdicts(report):
        made.add_row(name, f"{value:.1f}", bound, "yes" if kept else "NO")
    most = max((cores for cores in report.get("others", {}).values() if cores is not None), default=0.0)
    if most > QUIET_CORES:
        made.caption = f"Other programs kept up to {most:.2f} cores busy meanwhile: measure again on a quiet machine."
    return made


def arguments(words: Sequence[str] | None = None) -> Given:
    parser = argparse.ArgumentParser(
        description="Every speed figure that we give, in one run.", epilog=f"parts: {', '.join(PARTS)}"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of ours and the peers, in turns")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of sizes and scaling")
    parser.add_argument("--images", type=int, default=2560, help="training images of parts and overhead")
    parser.add_argument("--peer-images", type=int, default=1280, help="training images of peers")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--encoder", choices=scaling.ENCODERS, default="resnet18")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(data_sizes.SIZES), help="training images of sizes")
    parser.add_argument("--sides", type=int, nargs="+", default=[28, 64], help="pixels, of scaling")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="of scaling")
    parser.add_argument("--encoders", nargs="+", choices=scaling.ENCODERS, default=list(scaling.ENCODERS))
    parser.add_argument("--json", type=Path, help="also write everything measured here")
    given = parser.parse_args(words)
    for name in ("repeats", "rounds"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} {getattr(given, name)}: must be at least 1.")
    return given


def main() -> None:
    given, began = arguments(), time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 110)  # in a file the tables keep their lines whole
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
    report: dict[str, Any] = header(console) | {"settings": settings, "seconds": {}, "others": {}}
    told = f"{given.encoder}, batch {given.batch_size}, {given.repeats} rounds against peers, {given.rounds} elsewhere"
    console.print(told, highlight=False)
    for name in given.only:
        started, others = time.monotonic(), Others()
        with tempfile.TemporaryDirectory() as folder:
            report[name] = PARTS[name](given, Path(folder), console)
        report["seconds"][name] = round(time.monotonic() - started, 1)
        cores = report["others"][name] = others.cores()
        told = "" if cores is None else f", {cores:.2f} cores busy with other programs"
        console.print(f"{name}: {report['seconds'][name]:.0f} s{told}\n", highlight=False)
        if given.json is not None:
            given.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    if verdicts(report):
        console.print(summary(report))
    console.print(f"In all {(time.monotonic() - began) / 60:.1f} minutes.", highlight=False)


if __name__ == "__main__":
    main()
