"""How images a second move with the images' side, the batch and the encoder: sweeps of the real command.

As a script (OUT.json BEGAN WORD...) it runs the real command with these words, a sweep of theirs in one process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from growth import Growth
from hydra.core.hydra_config import HydraConfig
from images import write_data
from processes import watched
from real_command import note
from rich.table import Table
from spread import spread, told

EPOCHS = 3  # of each cell; the first one warms up
HELD_OUT = 64  # validation images: the look at them is no part of a rate
ENCODERS = ("resnet18", "resnet18_small_stem", "resnet34", "resnet50", "tiny")


class Sweep(NamedTuple):
    """Cells that differ in one key.

    Attributes:
        name: of what moves.
        key: that is swept.
        values: its values on the command line.
        shown: the same for a reader.
        words: what all cells have besides.
    """

    name: str
    key: str
    values: Sequence[str]
    shown: Sequence[str]
    words: Sequence[str]


class Cell(Growth):
    """Which cell of the sweep a fit is, and how fast."""

    def __init__(self) -> None:
        super().__init__()
        self.overrides = list(HydraConfig.get().overrides.task)

    def told(self) -> dict[str, Any]:
        return super().told() | {"overrides": self.overrides}


def sweeps(
    folder: Path,
    batch_size: int = 256,
    encoder: str = "resnet18",
    sides: Sequence[int] = (28, 64),
    batches: Sequence[int] = (64, 128, 256, 512, 1024),
    encoders: Sequence[str] = ENCODERS,
) -> list[Sweep]:
    """The three sweeps around one setting; their images are written into folder."""
    for side in sides:
        write_data(_data(folder, side), None, max(*batches, 2 * batch_size), side, held_out=HELD_OUT)
    paths, shown = [str(_data(folder, side)) for side in sides], [str(side) for side in sides]
    counts = [str(batch) for batch in batches]
    data, batch, network = f"dataset.path={paths[0]}", f"stage.batch_size={batch_size}", f"encoder={encoder}"
    return [
        Sweep("side in pixels", "dataset.path", paths, shown, [network, batch, "trainer.limit_steps=2"]),
        Sweep("batch", "stage.batch_size", counts, counts, [network, data]),
        Sweep("encoder", "encoder", encoders, encoders, [data, batch, "trainer.limit_steps=1"]),
    ]


def measure(sweep: Sweep, rounds: int, folder: Path) -> dict[str, Any]:
    """The rates of every cell over the rounds; a round does all cells, so that they meet the same machine."""
    seeds = ",".join(map(str, range(rounds)))
    words = ["-m", f"seed={seeds}", f"{sweep.key}={','.join(sweep.values)}", *sweep.words]
    words += ["stage=pretrain", "dataset=npz", "logger=none", f"stage.epochs={EPOCHS}", f"paths.runs={folder / 'runs'}"]
    cells = watched("scaling.py", words, folder)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for cell in cells:
        (value,) = (word.split("=", 1)[1] for word in cell["overrides"] if word.startswith(f"{sweep.key}="))
        rates[value] += cell["rates"][1:]
    return {shown: rates[value] for shown, value in zip(sweep.shown, sweep.values, strict=True)}


def table(name: str, rates: dict[str, list[float]]) -> Table:
    """Images a second of each cell, and relative to the first one by their medians."""
    made = Table(name, "images/s", "times the first", title=f"Images a second by {name}: median (min-max)")
    first = spread(next(iter(rates.values())))["median"]
    for shown, values in rates.items():
        found = spread(values)
        made.add_row(shown, told(found, 1), f"{found['median'] / first:.2f}")
    return made


def _data(folder: Path, side: int) -> Path:
    return folder / f"side{side}.npz"


if __name__ == "__main__":
    note(Cell, lambda watching: [cell.told() for cell in watching])
