"""Images per second by image side, batch size and encoder: sweeps of the real command.

As a script (OUT.json BEGAN OVERRIDE...) it runs one sweep of the real command in one process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from growth import Growth
from hydra.core.hydra_config import HydraConfig
from images import write_data
from processes import run_watched
from real_command import record
from rich.table import Table
from spread import format_spread, spread

EPOCHS = 3  # of each sweep job; the first one warms up
HELD_OUT = 64  # validation images; rates exclude the validation
ENCODERS = ("resnet18", "resnet18_small_stem", "resnet34", "resnet50", "tiny")


class Sweep(NamedTuple):
    """Sweep jobs that differ in one key.

    Attributes:
        name: of the swept quantity.
        key: the swept key.
        values: its values on the command line.
        labels: its values in the table.
        overrides: other overrides of all sweep jobs.
    """

    name: str
    key: str
    values: Sequence[str]
    labels: Sequence[str]
    overrides: Sequence[str]


class JobGrowth(Growth):
    """Records the overrides of a sweep job with its rate."""

    def __init__(self) -> None:
        super().__init__()
        self.overrides = list(HydraConfig.get().overrides.task)

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"overrides": self.overrides}


def build_sweeps(
    folder: Path,
    batch_size: int = 256,
    encoder: str = "resnet18",
    sides: Sequence[int] = (28, 64),
    batches: Sequence[int] = (64, 128, 256, 512, 1024),
    encoders: Sequence[str] = ENCODERS,
) -> list[Sweep]:
    """Write the images into folder and return the three sweeps around one setting."""
    for side in sides:
        write_data(_data_path(folder, side), None, max(*batches, 2 * batch_size), side, held_out=HELD_OUT)
    paths, labels = [str(_data_path(folder, side)) for side in sides], [str(side) for side in sides]
    counts = [str(batch) for batch in batches]
    data, batch, network = f"dataset.path={paths[0]}", f"stage.batch_size={batch_size}", f"encoder={encoder}"
    views = "augmentation=novel"
    return [
        Sweep("side in pixels", "dataset.path", paths, labels, [network, batch, views, "trainer.limit_steps=2"]),
        Sweep("batch size", "stage.batch_size", counts, counts, [network, data, views]),
        Sweep("encoder", "encoder", encoders, encoders, [data, batch, views, "trainer.limit_steps=1"]),
    ]


def measure(sweep: Sweep, rounds: int, folder: Path) -> dict[str, Any]:
    """Return the rates of every sweep job; each round runs all of them, so that they share the machine's state."""
    seeds = ",".join(map(str, range(rounds)))
    argv = ["-m", f"seed={seeds}", f"{sweep.key}={','.join(sweep.values)}", *sweep.overrides]
    argv += ["stage=pretrain", "dataset=npz", "logger=none", f"stage.epochs={EPOCHS}", f"paths.runs={folder / 'runs'}"]
    jobs = run_watched("scaling.py", argv, folder)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for job in jobs:
        (value,) = (text.split("=", 1)[1] for text in job["overrides"] if text.startswith(f"{sweep.key}="))
        rates[value] += job["rates"][1:]
    return {label: rates[value] for label, value in zip(sweep.labels, sweep.values, strict=True)}


def build_table(name: str, rates: dict[str, list[float]]) -> Table:
    """Return the images per second of each sweep job, and the ratio of its median to the first one's."""
    table = Table(name, "images/s", "relative to first", title=f"Images per second by {name}: median (min-max)")
    first = spread(next(iter(rates.values())))["median"]
    for label, values in rates.items():
        rate = spread(values)
        table.add_row(label, format_spread(rate, 1), f"{rate['median'] / first:.2f}")
    return table


def _data_path(folder: Path, side: int) -> Path:
    return folder / f"side{side}.npz"


if __name__ == "__main__":
    record(JobGrowth, lambda callbacks: [job.to_dict() for job in callbacks])
