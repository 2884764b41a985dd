"""Measure all published speed figures on this machine (make bench; about 13 minutes on two cores).

    python benchmarks/bench.py [--only peers parts ...] [--json FILE]

    peers       training step of the real command against two alternatives (see pretrain.py)
    parts       parts of the step: load, augment, forward, loss, backward, optimizer, logging
    overhead    Lightning, logging and monitors at their defaults against a bare loop with the same operations
    sizes       1k, 10k and 100k images: rate, memory, and time to the first step
    imports     import time of each package
    scaling     images per second by image side, batch size and encoder
    evaluation  features, a probe curve, an epoch of finetuning with its validation, and the report over 1,000 runs
Every measurement runs the real command in a new process. Run it on an otherwise idle machine.
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
import evaluation
import imports
import overhead
import parts
import pretrain
import scaling
from images import write_data
from machine import MAX_OTHER_CORES, OtherLoad, print_header
from processes import run_watched
from rich.console import Console
from rich.table import Table

Arguments = argparse.Namespace
SETTING = "ResNet-18, stock stem, 28 px, batch 256, augmentation=novel, 2 cores"


def measure_peers(given: Arguments, folder: Path, console: Console) -> dict[str, Any]:
    installed = [name for name in pretrain.PEERS if not name.startswith("lightly") or find_spec("lightly") is not None]
    if len(installed) < len(pretrain.PEERS):
        console.print("lightly is not installed (extra bench); skipping it.")
    argv = [f"--images={given.peer_images}", f"--batch-size={given.batch_size}", f"--repeats={given.repeats}"]
    argv += [f"--encoder={given.encoder}", "--epochs=3", "--peer-epochs=3", "--peers", *installed]
    settings = pretrain.parse_arguments(argv)
    rounds = pretrain.measure(settings, console.print)
    report = {"images": settings.images, "repeats": settings.repeats}
    report |= {"rates": pretrain.compute_rates(rounds), "ratios": pretrain.compute_ratios(rounds)}
    console.print(pretrain.build_table(report))
    return report


def measure_parts(given: Arguments, folder: Path, console: Console) -> dict[str, Any]:
    report: dict[str, Any] = run_watched("parts.py", [*_build_overrides(given, folder), "stage.epochs=5"], folder)
    console.print(parts.build_table(report))
    return report | {"shares": parts.compute_shares(report)}


def measure_overhead(given: Arguments, folder: Path, console: Console) -> dict[str, Any]:
    report: dict[str, Any] = run_watched("overhead.py", [*_build_overrides(given, folder), "stage.epochs=10"], folder)
    console.print(overhead.build_table(report))
    return report | {"percent": overhead.compute_overhead(report)}


def measure_sizes(given: Arguments, folder: Path, console: Console) -> dict[str, Any]:
    report = data_sizes.measure(given.rounds, _recipe(given), folder, console.print, given.sizes)
    console.print(data_sizes.build_table(report))
    return report


def measure_imports(given: Arguments, folder: Path, console: Console) -> dict[str, Any]:
    overrides = [*_build_overrides(given, folder), "encoder=tiny", "stage.epochs=1", "trainer.limit_steps=1"]
    report = imports.measure(overrides, folder)
    console.print(imports.build_table(report))
    return report


def measure_scaling(given: Arguments, folder: Path, console: Console) -> dict[str, Any]:
    report = {}
    sweeps = scaling.build_sweeps(folder, given.batch_size, given.encoder, given.sides, given.batches, given.encoders)
    for sweep in sweeps:
        report[sweep.name] = scaling.measure(sweep, given.rounds, folder)
        console.print(scaling.build_table(sweep.name, report[sweep.name]))
    return report


def measure_evaluation(given: Arguments, folder: Path, console: Console) -> dict[str, Any]:
    report = evaluation.measure(given.encoder, given.images, given.repeats, given.runs, folder)
    console.print(evaluation.build_table(report))
    return report


PARTS: dict[str, Callable[[Arguments, Path, Console], dict[str, Any]]] = {
    "peers": measure_peers,
    "parts": measure_parts,
    "overhead": measure_overhead,
    "sizes": measure_sizes,
    "imports": measure_imports,
    "scaling": measure_scaling,
    "evaluation": measure_evaluation,
}


def _build_overrides(given: Arguments, folder: Path) -> list[str]:
    """Return the overrides of the real command; all other options have their defaults."""
    data = folder / "images.npz"
    if not data.exists():
        write_data(data, None, given.images, 28)
    overrides = ["stage=pretrain", "dataset=npz", f"dataset.path={data}", f"paths.runs={folder / 'runs'}"]
    return [*overrides, *_recipe(given)]


def _recipe(given: Arguments) -> list[str]:
    """Return the overrides of what is measured: the augmentation that the peers have, too."""
    return [f"encoder={given.encoder}", f"stage.batch_size={given.batch_size}", "augmentation=novel"]


def check_bounds(report: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """Return (quantity, value, bound, whether the bound holds) of what the report measured."""
    checks: list[tuple[str, float, str, bool]] = []
    for peer, least in (("original", 4.5), ("lightly", 3.5)):
        ratio = report.get("peers", {}).get("ratios", {}).get(peer)
        if ratio is not None:
            speedup = ratio["step"]["median"]
            checks.append((f"training step, speed-up over {peer}", speedup, f"at least {least}", speedup >= least))
    if "parts" in report:
        share = report["parts"]["shares"][f"{parts.LOAD} and {parts.AUGMENT}"]["share"]["median"]
        checks.append(("load and augment, % of the step", share, "at most 8", share <= 8))
    if "overhead" in report:
        above = report["overhead"]["percent"]["all"]["median"]
        checks.append(("Lightning, logging and monitors, % above a bare loop", above, "at most 5", above <= 5))
    return checks


def build_summary(report: dict[str, Any]) -> Table:
    """Return the table of the bounds, with a warning if other programs used the machine."""
    table = Table("quantity", "value", "bound", "holds", title=f"Bounds for {SETTING}")
    for name, value, bound, is_met in check_bounds(report):
        table.add_row(name, f"{value:.1f}", bound, "yes" if is_met else "NO")
    most = max((cores for cores in report.get("others", {}).values() if cores is not None), default=0.0)
    if most > MAX_OTHER_CORES:
        table.caption = f"Other programs used up to {most:.2f} cores. Repeat the measurement on an idle machine."
    return table


def parse_arguments(argv: Sequence[str] | None = None) -> Arguments:
    parser = argparse.ArgumentParser(
        description="Measure all published speed figures.", epilog=f"parts: {', '.join(PARTS)}"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of peers and evaluation")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of sizes and scaling")
    parser.add_argument("--images", type=int, default=2560, help="training images of parts and overhead")
    parser.add_argument("--peer-images", type=int, default=1280, help="training images of peers")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--encoder", choices=scaling.ENCODERS, default="resnet18")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(data_sizes.SIZES), help="training images of sizes")
    parser.add_argument("--sides", type=int, nargs="+", default=[28, 64], help="image sides of scaling, in pixels")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="batch sizes of scaling"
    )
    parser.add_argument("--encoders", nargs="+", choices=scaling.ENCODERS, default=list(scaling.ENCODERS))
    parser.add_argument("--runs", type=int, default=1000, help="runs of the report of evaluation")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    given = parser.parse_args(argv)
    for name in ("repeats", "rounds"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}={getattr(given, name)}: expected an integer >= 1.")
    return given


def main() -> None:
    given, began = parse_arguments(), time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 110)  # a fixed width, so that tables fit into a file
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()}
    report: dict[str, Any] = print_header(console) | {"settings": settings, "seconds": {}, "others": {}}
    rounds = f"{given.repeats} rounds of peers and evaluation, {given.rounds} of sizes and scaling"
    console.print(f"{given.encoder}, batch size {given.batch_size}, {rounds}", highlight=False)
    for name in given.only:
        started, others = time.monotonic(), OtherLoad()
        with tempfile.TemporaryDirectory() as folder:
            report[name] = PARTS[name](given, Path(folder), console)
        report["seconds"][name] = round(time.monotonic() - started, 1)
        cores = report["others"][name] = others.cores()
        load = "" if cores is None else f", other programs used {cores:.2f} cores"
        console.print(f"{name}: {report['seconds'][name]:.0f} s{load}\n", highlight=False)
        if given.json is not None:
            given.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    if check_bounds(report):
        console.print(build_summary(report))
    console.print(f"done in {(time.monotonic() - began) / 60:.1f} minutes", highlight=False)


if __name__ == "__main__":
    main()
