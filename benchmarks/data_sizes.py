"""Rate, memory and time to the first step against the size of the data set, each in a new process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from images import write_data
from processes import run_watched
from rich.table import Table
from spread import format_spread, spread
from startup import FIRST_STEP

SIZES = (1000, 10_000, 100_000)
EPOCHS, STEPS = 4, 3  # the first epoch warms up
HELD_OUT = 128


def measure(
    rounds: int, overrides: Sequence[str], folder: Path, log: Callable[[str], None], sizes: Sequence[int] = SIZES
) -> dict[str, list[dict[str, Any]]]:
    """Return the measurements of startup.py for every size, with the default logger and monitors.

    Args:
        rounds: number of rounds; a round has one process for each size.
        overrides: encoder and batch size.
        folder: for images and runs.
        log: prints the progress.
        sizes: numbers of training images.
    """
    measured: dict[str, list[dict[str, Any]]] = {f"{size:,}": [] for size in sizes}
    for size in sizes:
        write_data(folder / f"{size}.npz", None, size, 28, held_out=HELD_OUT)
    for number in range(rounds):
        for size, runs in zip(sizes, measured.values(), strict=True):
            fixed = ["stage=pretrain", "dataset=npz", f"dataset.path={folder / f'{size}.npz'}"]
            lengths = [f"stage.epochs={EPOCHS}", f"trainer.limit_steps={STEPS}"]
            outputs = [f"seed={number}", f"paths.runs={folder / 'runs'}"]
            runs.append(run_watched("startup.py", [*fixed, *overrides, *lengths, *outputs], folder))
        log(f"data sizes: round {number + 1} of {rounds}")
    return measured


def sum_to_first_step(seconds: dict[str, float]) -> float:
    """Return the seconds from the start of the process to the end of its first step."""
    names = list(seconds)
    return sum(seconds[name] for name in names[: names.index(FIRST_STEP) + 1])


def build_table(measured: dict[str, list[dict[str, Any]]]) -> Table:
    """Return a table with a column per size; rates, memory and seconds as median (min-max)."""
    columns = list(measured.values())
    table = Table("", *(f"{size} images" for size in measured))
    table.title = f"Cost by data set size, 28 px RGB, {len(columns[0])} processes per size: median (min-max)"
    rates = [[rate for run in runs for rate in run["rates"][1:]] for runs in columns]
    table.add_row("images/s", *(format_spread(spread(values), 1) for values in rates))
    table.add_row("anonymous memory, MiB", *(_format_memory(runs) for runs in columns))
    table.add_row(
        "training images, MiB", *(f"{int(size.replace(',', '')) * 28 * 28 * 3 / 2**20:.0f}" for size in measured)
    )
    table.add_section()
    for name in columns[0][0]["seconds"]:
        table.add_row(
            f"{name}, s", *(format_spread(spread([run["seconds"][name] for run in runs]), 2) for runs in columns)
        )
        if name == FIRST_STEP:
            firsts = [format_spread(spread([sum_to_first_step(run["seconds"]) for run in runs]), 2) for runs in columns]
            table.add_row("start to end of the first step, s", *firsts, style="bold", end_section=True)
    return table


def _format_memory(runs: list[dict[str, Any]]) -> str:
    values = [run["anonymous"] for run in runs]
    return "not measured" if None in values else format_spread(spread([value / 2**20 for value in values]), 0)
