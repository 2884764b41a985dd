"""Measure the real command on large data sets: a folder of PNG files and an .npz file (make bench-growth).

    python benchmarks/large_sets.py [--folder DIR] [--only folder npz] [--files N] [--images N] [--json FILE]

It makes the data in a temporary folder (in --folder, if given) and removes them afterwards: 200,000 PNG files of 64 px
(2 GB, and 2.5 GB decoded) and 1,000,000 RGB images of 64 px in an .npz file (12 GB). Each set is used twice: the first
start hashes and decodes it, and the second finds the hash and the decoded images in the caches.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from data_sizes import sum_to_first_step
from images import BLOCK, draw_squares
from machine import OtherLoad, print_header
from memory import MemoryWatch
from PIL import Image
from processes import run_watched
from rich.console import Console
from rich.table import Table
from startup import FIRST_STEP

CLASSES = 8
HELD_OUT = 1000  # images of the validation and of the test split of the .npz file
EPOCHS = 3  # the first one warms up
STARTS = ("first start", "second start")


def write_folder(folder: Path, files: int, side: int, channels: int) -> None:
    """Write PNG files into one folder for each class, in several processes."""
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    starts = range(0, files, BLOCK)
    counts = [min(BLOCK, files - start) for start in starts]
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(partial(_write_block, folder, side, channels), starts, counts):
            pass


def _write_block(folder: Path, side: int, channels: int, start: int, count: int) -> None:
    images = draw_squares(count, side, np.random.default_rng([start, side]), channels)
    for number, image in enumerate(images, start=start):
        pixels = Image.fromarray(image if channels == 3 else image[:, :, 0])
        pixels.save(folder / f"class{number % CLASSES}" / f"{number:07}.png", compress_level=1)


def write_npz(path: Path, images: int, side: int, channels: int) -> None:
    """Write an .npz file in MedMNIST's layout block by block, since numpy.savez needs the whole array in memory."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for split, count in (("train", images), ("val", HELD_OUT), ("test", HELD_OUT)):
            shape = (count, side, side, channels)
            with archive.open(f"{split}_images.npy", "w", force_zip64=True) as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for block in _draw_blocks(count, side, channels):
                    member.write(block.data)
            with archive.open(f"{split}_labels.npy", "w") as member:
                np.lib.format.write_array(member, (np.arange(count) % CLASSES).astype(np.uint8)[:, None])


def _draw_blocks(count: int, side: int, channels: int) -> Iterator[np.ndarray]:
    """Yield blocks of images; a block is drawn once and then shifted in brightness, because drawing is slow."""
    drawn = draw_squares(min(BLOCK, count), side, np.random.default_rng(side), channels)
    for number, start in enumerate(range(0, count, BLOCK)):
        yield (drawn + np.uint8(number))[: count - start]


def measure_start(overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run the real command in a new process; return its phases, its rates and its memory."""
    others = OtherLoad()
    with MemoryWatch() as memory:
        measured: dict[str, Any] = run_watched("startup.py", overrides, folder)
    return measured | {"memory": memory.peaks._asdict(), "others": others.cores()}


def measure(name: str, data: Path, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure both starts on a data set; they differ in the seed, so that the second is not skipped."""
    fixed = ["stage=pretrain", f"dataset={name}", f"dataset.path={data}", "encoder=tiny", "logger=none"]
    fixed += [f"stage.epochs={EPOCHS}", f"trainer.limit_steps={given.steps}", f"paths.runs={folder / 'runs'}"]
    if name == "folder":
        fixed += [f"dataset.size={given.side}"]
    return {start: measure_start([*fixed, f"seed={seed}"], folder) for seed, start in enumerate(STARTS)}


def build_table(name: str, images: int, starts: dict[str, Any]) -> Table:
    """Return the table of one data set: a column for each start."""
    table = Table("", *starts, title=f"{name}: {images:,} images")
    runs = list(starts.values())
    for phase in runs[0]["seconds"]:
        table.add_row(f"{phase}, s", *(f"{run['seconds'].get(phase, 0.0):.2f}" for run in runs))
        if phase == FIRST_STEP:
            firsts = [f"{sum_to_first_step(run['seconds']):.2f}" for run in runs]
            table.add_row("start to end of the first step, s", *firsts, style="bold", end_section=True)
    table.add_section()
    table.add_row("images/s", *(f"{np.median(run['rates'][1:]):.0f}" for run in runs))
    for key, text in (("largest", "one process"), ("together", "all processes")):
        table.add_row(f"anonymous memory, {text}, MiB", *(f"{run['memory'][key] / 2**20:.0f}" for run in runs))
    table.add_row("peak resident memory, MiB", *(f"{run['memory']['resident'] / 2**20:.0f}" for run in runs))
    table.add_row("cores used by other programs", *(f"{run['others'] or 0.0:.2f}" for run in runs))
    return table


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the real command on large data sets.")
    parser.add_argument("--folder", type=Path, help="folder for the data, of which a part is made and removed")
    parser.add_argument("--only", nargs="+", choices=WRITERS, default=list(WRITERS), metavar="SET")
    parser.add_argument("--files", type=int, default=200_000, help="PNG files of the folder")
    parser.add_argument("--images", type=int, default=1_000_000, help="training images of the .npz file")
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--steps", type=int, default=20, help="training steps of an epoch")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    given = parser.parse_args(argv)
    for name in ("files", "images", "side", "steps"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}={getattr(given, name)}: expected an integer >= 1.")
    return given


WRITERS: dict[str, Callable[[Path, int, int, int], None]] = {"folder": write_folder, "npz": write_npz}


def main() -> None:
    given = parse_arguments()
    console = Console(width=110)
    report: dict[str, Any] = print_header(console) | {"sets": {}}
    counts = {"folder": given.files, "npz": given.images}
    for name in given.only:
        with tempfile.TemporaryDirectory(dir=given.folder) as made:
            data, began = Path(made) / f"images{'.npz' if name == 'npz' else ''}", time.monotonic()
            WRITERS[name](data, counts[name], given.side, given.channels)
            console.print(f"{name}: made in {time.monotonic() - began:.0f} s", highlight=False)
            report["sets"][name] = {"images": counts[name], "starts": measure(name, data, given, Path(made))}
        console.print(build_table(name, **report["sets"][name]))
        if given.json is not None:
            given.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
