"""The rules that tie several keys of a data set together."""

from __future__ import annotations

from collections.abc import Iterator

from simclr_med.config.bounds import is_finite
from simclr_med.config.data_nodes import Dataset, Folder, Parquet


def broken_data_rules(data: Dataset) -> Iterator[str]:
    """Yield a sentence for each broken rule."""
    if not isinstance(data, (Folder, Parquet)):
        return
    if data.val_fraction + data.test_fraction >= 1:
        yield (
            f"dataset.val_fraction={data.val_fraction} dataset.test_fraction={data.test_fraction}: no training images "
            "are left. Lower their sum below 1."
        )
    if isinstance(data, Folder):
        yield from _window(data)
        yield from _csv(data)


def _window(data: Folder) -> Iterator[str]:
    window = data.window
    if window is None or not all(map(is_finite, window)):
        return  # reported as out of bounds
    shown = f"dataset.window=[{','.join(f'{value:g}' for value in window)}]"
    if len(window) != 2 or window[1] <= 0:
        yield f"{shown}: expected [center,width] with a width > 0. Correct it, or remove it."
    elif data.intensity != "window":
        yield f"{shown}: not used with dataset.intensity={data.intensity}. Add dataset.intensity=window."


def _csv(data: Folder) -> Iterator[str]:
    csv = data.csv
    columns = {name: column for name in ("patient", "label", "split") if (column := getattr(csv, name)) is not None}
    if csv.path is None and columns:
        name, column = next(iter(columns.items()))
        yield f"dataset.csv.{name}={column}: names a column, but no CSV is given. Add dataset.csv.path."
    if csv.path is not None and not columns:
        yield (
            f"dataset.csv.path={csv.path}: none of its columns is used. Name some with dataset.csv.patient, "
            "dataset.csv.label or dataset.csv.split."
        )
    if csv.path is not None and data.groups_csv is not None:
        yield f"dataset.groups_csv={data.groups_csv}: not used with dataset.csv.path. Use dataset.csv.patient instead."
    if "label" in columns and data.class_folders:
        yield "dataset.class_folders=true: not used with dataset.csv.label, which states the classes. Remove it."
