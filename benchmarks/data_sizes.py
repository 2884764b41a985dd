"""The cost against the data's size: rate, memory, and the way to the first step, each in fresh processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from images import write_data
from processes import watched
from rich.table import Table
from spread import spread, told
from startup import FIRST_STEP

SIZES = (1000, 10_000, 100_000)
EPOCHS, STEPS = 4, 3  # the first epoch warms up
HELD_OUT = 128


def measure(
    rounds: int, words: Sequence[str], folder: Path, say: Callable[[str], None], sizes: Sequence[int] = SIZES
) -> dict[str, list[dict[str, Any]]]:
    """What startup.py notes for every size, in turns; its run has the logger and the monitors at their defaults.

    Args:
        rounds: of one process for each size.
        words: encoder and batch size.
        folder: for images and runs.
        say: tells the progress.
        sizes: training images.
    """
    found: dict[str, list[dict[str, Any]]] = {f"{size:,}": [] for size in sizes}
    for size in sizes:
        write_data(folder / f"{size}.npz", None, size, 28, held_out=HELD_OUT)
    for number in range(rounds):
        for size, each in zip(sizes, found.values(), strict=True):
            fixed = ["stage=pretrain", "dataset=npz", f"dataset.path={folder / f'{size}.npz'}"]
            lengths = [f"stage.epochs={EPOCHS}", f"trainer.limit_steps={STEPS}"]
            kept = [f"seed={number}", f"paths.runs={folder / 'runs'}"]
            each.append(watched("startup.py", [*fixed, *words, *lengths, *kept], folder))
        say(f"data sizes: round {number + 1} of {rounds}")
    return found


def to_first_step(seconds: dict[str, float]) -> float:
    """Seconds from asking for the process to the end of its first step."""
    names = list(seconds)
    return sum(seconds[name] for name in names[: names.index(FIRST_STEP) + 1])


def table(found: dict[str, list[dict[str, Any]]]) -> Table:
    """A column for each size; rates, memory and seconds as median (min-max)."""
    columns = list(found.values())
    made = Table("", *(f"{size} images" for size in found))
    made.title = f"Cost against the data's size, 28 px RGB, {len(columns[0])} processes of each: median (min-max)"
    rates = [[rate for run in runs for rate in run["rates"][1:]] for runs in columns]
    made.add_row("images/s", *(told(spread(values), 1) for values in rates))
    made.add_row("anonymous memory, MiB", *(_memory(runs) for runs in columns))
    made.add_row("training images, MiB", *(f"{int(size.replace(',', '')) * 28 * 28 * 3 / 2**20:.0f}" for size in found))
    made.add_section()
    for name in columns[0][0]["seconds"]:
        made.add_row(f"{name}, s", *(told(spread([run["seconds"][name] for run in runs]), 2) for runs in columns))
        if name == FIRST_STEP:
            firsts = [told(spread([to_first_step(run["seconds"]) for run in runs]), 2) for runs in columns]
            made.add_row("start to the first step's end, s", *firsts, style="bold", end_section=True)
    return made


def _memory(runs: list[dict[str, Any]]) -> str:
    found = [run["anonymous"] for run in runs]
    return "not measured" if None in found else told(spread([value / 2**20 for value in found]), 0)
