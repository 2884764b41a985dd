"""Features and their two-dimensional maps in files for other programs."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from simclr_med.atomic import write_bytes
from simclr_med.types import Split


@dataclass(frozen=True)
class Embedded:
    """The analysed images of one split.

    Attributes:
        rows_N: int64, their rows in the split.
        features_ND: float32.
        labels_NL: int64 in medmnist's layout; None without labels.
        maps: float32 [N, 2] coordinates of each map by its name, such as ``pca`` or ``tsne_30``.
    """

    rows_N: np.ndarray
    features_ND: np.ndarray
    labels_NL: np.ndarray | None
    maps: Mapping[str, np.ndarray]


def write_npz(splits: Mapping[Split, Embedded], classes: Sequence[str], target: Path) -> None:
    """Write ``{split}_rows``, ``_features``, ``_labels`` and ``_<map>`` of each split, and ``classes``, as .npz."""
    arrays: dict[str, np.ndarray] = {"classes": np.array(list(classes), dtype=str)}
    for split, embedded in splits.items():
        arrays |= {f"{split}_rows": embedded.rows_N, f"{split}_features": embedded.features_ND}
        arrays |= {f"{split}_{name}": points for name, points in embedded.maps.items()}
        if embedded.labels_NL is not None:
            arrays[f"{split}_labels"] = embedded.labels_NL
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_bytes(target, content.getvalue())


def write_parquet(splits: Mapping[Split, Embedded], classes: Sequence[str], target: Path) -> bool:
    """Write one row an image: split, row, label (a column for each label of a multi-label set), maps, features.

    Returns:
        Whether the file was written; it needs the package pyarrow.
    """
    if importlib.util.find_spec("pyarrow") is None:
        return False
    content = io.BytesIO()
    tables = [_to_frame(split, embedded, classes) for split, embedded in splits.items()]
    pd.concat(tables, ignore_index=True).to_parquet(content, index=False, engine="pyarrow")
    write_bytes(target, content.getvalue())
    return True


def _to_frame(split: str, embedded: Embedded, classes: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, object] = {"split": split, "row": embedded.rows_N}
    if embedded.labels_NL is not None and embedded.labels_NL.shape[1] == 1:
        columns |= {"label": embedded.labels_NL[:, 0], "class": [classes[label] for label in embedded.labels_NL[:, 0]]}
    elif embedded.labels_NL is not None:
        columns |= {f"label/{name}": embedded.labels_NL[:, k] for k, name in enumerate(classes)}
    for name, points in embedded.maps.items():
        columns |= {f"{name}_1": points[:, 0], f"{name}_2": points[:, 1]}
    columns |= {f"feature_{d}": embedded.features_ND[:, d] for d in range(embedded.features_ND.shape[1])}
    return pd.DataFrame(columns)
