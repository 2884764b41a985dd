"""Files of Apache Arrow's two kinds, .parquet and .arrow, and their columns.

Only the columns that are asked for are read. Nothing of a file is executed: pyarrow reads plain types.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from simclr_med.data.listing import SPLIT_FOLDERS
from simclr_med.errors import ConfigError, DataError
from simclr_med.safe_files import check_regular
from simclr_med.types import SPLITS, Split

ENDINGS = (".parquet", ".arrow")
BATCH = 64  # rows whose images are in memory at a time
_FEATURES = b"huggingface"  # key of the schema's metadata where `datasets` names the classes


@dataclass(frozen=True)
class ArrowFile:
    """One file of a data set.

    Attributes:
        path: of the file.
        name: relative to the data set's folder, with forward slashes.
        rows: number of rows.
        split: by its name; None where that names none.
        class_names: of the label column, by number; empty where the file states none.
    """

    path: Path
    name: str
    rows: int
    split: Split | None
    class_names: tuple[str, ...]


def list_arrow_files(root: Path, image: str, columns: Mapping[str, str | None]) -> tuple[ArrowFile, ...]:
    """Return the files of a data set, sorted by name.

    Args:
        root: a file, or a folder with files at any depth. Caches of `datasets` are left out.
        image: column of the images.
        columns: further ones, by their meaning.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: there is no file, one cannot be read or lacks a column, or only some names say the split.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError("dataset=parquet: needs pyarrow. Install it with pip install 'simclr-med[parquet]'.")
    folder = root.parent if root.is_file() else root
    paths = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.suffix in ENDINGS)
    paths = [path for path in paths if not path.name.startswith((".", "cache-"))]
    if not paths:
        raise DataError(f"dataset.path={root}: no .parquet or .arrow file found. Check the path.")
    wanted = [image, *(column for column in columns.values() if column is not None)]
    files = tuple(_describe(path, path.relative_to(folder).as_posix(), wanted, columns["label"]) for path in paths)
    if columns["split"] is None and len({file.split is None for file in files}) > 1:
        odd = next(file.name for file in files if file.split is None)
        raise DataError(
            f"dataset.path={root}: the name of {odd} says no split, those of other files do. Rename it, for example to "
            f"train-{PurePosixPath(odd).name}."
        )
    return files


def read_cells(file: ArrowFile, columns: Mapping[str, str | None]) -> dict[str, list[Any]]:
    """Return what some columns say about each row, as text, by their meaning.

    Raises:
        DataError: a cell is empty, or is neither a text nor a whole number; or a split is unknown.
    """
    named = {meaning: column for meaning, column in columns.items() if column is not None}
    table = {column: [] for column in named.values()} if not named else _read_columns(file, list(named.values()))
    return {
        meaning: [_read_cell(file, meaning, column, row, value) for row, value in enumerate(table[column])]
        for meaning, column in named.items()
    }


def _describe(path: Path, name: str, wanted: Sequence[str], label: str | None) -> ArrowFile:
    """Read the schema and the number of rows of a file."""
    try:
        check_regular(path)
        schema, rows = _read_schema(path)
    except Exception as error:  # pyarrow raises a dozen types for damaged files
        raise _describe_error(path, error) from error
    missing = [column for column in wanted if column not in schema.names]
    if missing:
        found = ", ".join(schema.names)[:200]
        raise DataError(
            f"{path}: no column {', '.join(missing)}; found {found}. Name the columns with dataset.image and "
            "dataset.label."
        )
    return ArrowFile(path, name, rows, _find_split(name), _find_class_names(schema.metadata or {}, label))


def _find_split(name: str) -> Split | None:
    """Return the split that a file's name or one of its folders begins with."""
    for part in reversed(PurePosixPath(name).parts):
        first = part.lower().replace(".", "-").replace("_", "-").partition("-")[0]
        if first in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[first]
    return None


def _find_class_names(metadata: Mapping[bytes, bytes], label: str | None) -> tuple[str, ...]:
    """Return the names that `datasets` keeps of a ClassLabel; empty without."""
    try:
        feature = json.loads(metadata[_FEATURES])["info"]["features"][label]
        names = feature["names"] if feature.get("_type") == "ClassLabel" else []
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return ()
    is_intact = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_intact and len(set(names)) == len(names) else ()


def _read_schema(path: Path) -> tuple[Any, int]:
    """Return the schema and the number of rows."""
    import pyarrow.parquet

    if path.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows
    with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as stream:
        return stream.schema, sum(batch.num_rows for batch in stream)


def _read_columns(file: ArrowFile, columns: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {column: [] for column in columns}
    for batch in _iterate_batches(file, list(columns)):
        for column in columns:
            found[column] += batch.column(column).to_pylist()
    return found


def iterate_column(file: ArrowFile, column: str) -> Iterator[list[Any]]:
    """Yield the cells of a column, up to `BATCH` at a time.

    Raises:
        DataError: the file is damaged.
    """
    for batch in _iterate_batches(file, [column]):
        cells = batch.column(column)
        for start in range(0, len(cells), BATCH):
            yield cells.slice(start, BATCH).to_pylist()


def _iterate_batches(file: ArrowFile, columns: list[str]) -> Iterator[Any]:
    """Yield the record batches of a file with some columns."""
    import pyarrow.parquet

    try:
        if file.path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(file.path) as opened:
                yield from opened.iter_batches(BATCH, columns=columns)
        else:
            with pyarrow.memory_map(str(file.path)) as source, pyarrow.ipc.open_stream(source) as stream:
                for batch in stream:
                    yield batch.select(columns)
    except (OSError, pyarrow.ArrowException) as error:
        raise _describe_error(file.path, error) from error


def _describe_error(path: Path, error: Exception) -> DataError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{path}: not an intact {path.suffix} file ({said}). Copy or export it again.")


def _read_cell(file: ArrowFile, meaning: str, column: str, row: int, value: Any) -> str:
    where = f"{file.path}: {column} of row {row}"
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        kind = "nothing" if value in (None, "") else type(value).__name__
        raise DataError(f"{where}: expected a text or a whole number, found {kind}. Correct the files.")
    if meaning == "label" and isinstance(value, int) and file.class_names:
        if not 0 <= value < len(file.class_names):
            raise DataError(
                f"{where}: expected a class from 0 to {len(file.class_names) - 1}, found {value}. Correct it."
            )
        return file.class_names[value]
    if meaning == "split":
        split = SPLIT_FOLDERS.get(str(value).lower())
        if split is None:
            raise DataError(f"{where}: expected {', '.join(SPLITS)} as split, found {str(value)[:40]!r}. Correct it.")
        return split
    return str(value)
