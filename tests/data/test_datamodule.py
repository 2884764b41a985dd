"""The data module: what it says of too few training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.npz import Npz
from simclr_med.errors import DataError


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({}, "Increase data_fraction."),
        ({"accumulate": 4}, "Increase data_fraction, or lower stage.accumulate."),
        ({"parts": 4}, "Increase data_fraction, or lower stage.accumulate."),
        ({"processes": 4}, "Increase data_fraction, or lower trainer.devices."),
        ({"accumulate": 2, "processes": 2}, "Increase data_fraction, or lower stage.accumulate or trainer.devices."),
    ],
)
def test_too_few_images_name_what_needs_them(tmp_path: Path, options: dict[str, int], remedy: str) -> None:
    np.savez(tmp_path / "one.npz", **{f"{split}_images": np.zeros((1, 8, 8), np.uint8) for split in ("train", "val")})
    source = Npz("one", str(tmp_path / "one.npz"), None, None, None)
    data = ImageDataModule(source, {"seed": 0}, batch_size=16, seed=0, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError) as error:
        data.setup()
    (line,) = error.value.problems
    assert remedy in line
