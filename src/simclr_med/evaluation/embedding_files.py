"""Features and where they lie in the plane, for other programs."""

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
    """The images of one split that were looked at.

    Attributes:
        rows_N: int64, their places in the split.
        features_ND: float32.
        labels_NL: int64 in medmnist's layout; None without labels.
        maps: by name the float32 [N, 2] places of each map, as ``pca`` or ``tsne_30``.
    """

    rows_N: np.ndarray
    features_ND: np.ndarray
    labels_NL: np.ndarray | None
    maps: Mapping[str, np.ndarray]


def write_npz(splits: Mapping[Split, Embedded], classes: Sequence[str], target: Path) -> None:
    """``{split}_rows``, ``_features``, ``_labels`` and ``_<map>`` of each split, and ``classes``."""
    arrays: dict[str, np.ndarray] = {"classes": np.array(list(classes), dtype=str)}
    for split, one in splits.items():
        arrays |= {f"{split}_rows": one.rows_N, f"{split}_features": one.features_ND}
        arrays |= {f"{split}_{name}": points for name, points in one.maps.items()}
        if one.labels_NL is not None:
            arrays[f"{split}_labels"] = one.labels_NL
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_bytes(target, content.getvalue())


def write_parquet(splits: Mapping[Split, Embedded], classes: Sequence[str], target: Path) -> bool:
    """One row an image: split, row, label (a column a label of a multi-label set), the maps, the features.

    Returns:
        Whether it was written: it needs the package pyarrow.
    """
    if importlib.util.find_spec("pyarrow") is None:
        return False
    content = io.BytesIO()
    tables = [_table(split, one, classes) for split, one in splits.items()]
    pd.concat(tables, ignore_index=True).to_parquet(content, index=False, engine="pyarrow")
    write_bytes(target, content.getvalue())
    return True


def _table(split: str, one: Embedded, classes: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, object] = {"split": split, "row": one.rows_N}
    if one.labels_NL is not None and one.labels_NL.shape[1] == 1:
        columns |= {"label": one.labels_NL[:, 0], "class": [classes[label] for label in one.labels_NL[:, 0]]}
    elif one.labels_NL is not None:
        columns |= {f"label/{name}": one.labels_NL[:, k] for k, name in enumerate(classes)}
    for name, points in one.maps.items():
        columns |= {f"{name}_1": points[:, 0], f"{name}_2": points[:, 1]}
    columns |= {f"feature_{d}": one.features_ND[:, d] for d in range(one.features_ND.shape[1])}
    return pd.DataFrame(columns)
