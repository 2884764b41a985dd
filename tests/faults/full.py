"""Disks that are full or read-only, at every file that a run writes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from faults import disks
from faults.bench import Bench, Outcome, ended, wait_for

ROOM = "size=64m,nr_inodes=9999"
INODES = (2, 5, *range(8, 60))  # the first few are the runs folder's own
SIZES_KIB = (8, 16, 24, 200, 900, 1600, 2600, 3300, 3600, 3900)


def no_more_files(bench: Bench, counts: Sequence[int] = INODES) -> Iterator[Outcome]:
    """A disk that takes one file more each time, until a run fits: so every creation of a file fails once."""
    for inodes in counts:
        with disks.small(bench.place / f"inodes{inodes}", f"size=64m,nr_inodes={inodes}") as disk:
            hit = bench.run(disk / "runs")
            if hit.code == 0:
                return
            disks.remounted(disk, ROOM)
            yield bench.outcome(f"no file beyond {inodes} on the disk", disk / "runs", hit, (1,))


def no_more_bytes(bench: Bench, sizes: Sequence[int] = SIZES_KIB) -> Iterator[Outcome]:
    """A disk that is full at some byte of some file."""
    for size in sizes:
        with disks.small(bench.place / f"size{size}", f"size={size}k,nr_inodes=9999") as disk:
            hit = bench.run(disk / "runs")
            if hit.code == 0:
                return
            disks.remounted(disk, ROOM)
            yield bench.outcome(f"disk full at {size} KiB", disk / "runs", hit, (1,))


def one_file(bench: Bench) -> Iterator[Outcome]:
    """A full disk under a single folder of a run, or under metrics.csv while the checkpoints have room."""
    for name, size in (("checkpoints", 400), ("figures", 64)):
        runs = bench.place / f"only_{name}"
        with disks.small(bench.folder_in(runs) / name, f"size={size}k") as disk:
            hit = bench.run(runs)
            disks.remounted(disk, ROOM)
            yield bench.outcome(f"{name}/ full at {size} KiB", runs, hit, (1,))
    for pages in (2, 3):
        runs = bench.place / f"only_metrics{pages}"
        with ExitStack() as mounted:
            disk = mounted.enter_context(disks.small(bench.folder_in(runs), f"size={4 * pages}k,nr_inodes=9999"))
            mounted.enter_context(disks.small(disk / "checkpoints", ROOM))
            hit = bench.run(runs)
            disks.remounted(disk, ROOM)
            yield bench.outcome(f"metrics.csv full at {pages - 1} pages", runs, hit, (1,))


def wandb_folder(bench: Bench) -> Iterator[Outcome]:
    """A full disk under wandb/, from the start and in the middle."""
    for size in (4, 64):
        runs = bench.place / f"wandb{size}"
        with disks.small(bench.folder_in(runs) / "wandb", f"size={size}k") as disk:
            hit = bench.run(runs, "logger=wandb")
            disks.remounted(disk, ROOM)
            yield bench.outcome(f"wandb/ full at {size} KiB", runs, hit, (0, 1))


def read_only(bench: Bench) -> Iterator[Outcome]:
    """A runs folder that takes nothing: from the start, or from some moment of the run on."""
    runs = bench.place / "read_only"
    with disks.read_only(runs):
        hit = bench.run(runs)
    yield bench.outcome("read-only runs folder", runs, hit, (1,))
    runs = bench.place / "turned"
    with disks.small(runs, ROOM):
        process = bench.start(runs)
        began = time.monotonic()
        wait_for(runs, process, "pretrain/*/*/checkpoints/last.ckpt")
        with disks.read_only(runs):
            hit = ended(process, began)
        yield bench.outcome("disk turns read-only during the run", runs, hit, (1,))
