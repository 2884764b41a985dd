"""Heads written to files and read again, and files without a head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from simclr_med.errors import CheckpointError
from simclr_med.models.head_files import load_head, load_projection, save_head, save_projection
from simclr_med.models.heads import classifier_on, linear_head, projection_head

CLASSES = ("basophil", "éosinophile", "c, d")


def probe() -> nn.Module:
    """As the probe makes it: float64, and a class that was not trained."""
    layer = nn.Linear(8, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.bias[1] = -torch.inf
    return layer


def deep(batch_norm: bool) -> nn.Module:
    head = classifier_on(projection_head(8, 6, 4, batch_norm=batch_norm).state_dict(), 8, 3)
    head(torch.randn(16, 8))  # running statistics unlike a new one's
    return head


HEADS: list[Callable[[], nn.Module]] = [lambda: linear_head(8, 3), probe, lambda: deep(False), lambda: deep(True)]


@pytest.mark.parametrize("make", HEADS, ids=["linear", "probe", "deep", "deep with batch norm"])
def test_round_trip(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    head = make().eval()
    save_head(tmp_path / "head.safetensors", head, CLASSES, "multi-class")
    loaded = load_head(tmp_path / "head.safetensors")
    assert loaded.classes == CLASSES
    assert loaded.task == "multi-class"
    features = torch.randn(5, 8, dtype=next(head.parameters()).dtype)
    assert torch.equal(loaded.module.eval()(features), head(features))


def test_the_same_head_is_the_same_bytes(tmp_path: Path) -> None:
    head = linear_head(8, 3)
    content = set()
    for _ in range(12):  # the library writes metadata in a random order
        save_head(tmp_path / "head.safetensors", head, CLASSES, "multi-class")
        content.add((tmp_path / "head.safetensors").read_bytes())
    assert len(content) == 1
    with safetensors.safe_open(tmp_path / "head.safetensors", "pt") as file:
        assert set(file.metadata()) == {"classes", "task"}


def refused(path: Path, words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        load_head(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "head.safetensors", "no such file")


@pytest.mark.parametrize("damage", ["truncated", "header", "empty"])
def test_a_damaged_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "head.safetensors"
    save_head(path, linear_head(8, 3), CLASSES, "multi-class")
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[20] ^= 255
    path.write_bytes(content[: {"truncated": len(content) // 2, "header": len(content), "empty": 0}[damage]])
    refused(path, "not an intact classifier")


OTHERS: dict[str, tuple[dict[str, torch.Tensor], dict[str, str]]] = {
    "no metadata": (linear_head(8, 3).state_dict(), {}),
    "classes that are no list": (linear_head(8, 3).state_dict(), {"classes": "{", "task": "multi-class"}),
    "another layer": ({"conv1.weight": torch.ones(1)}, {"classes": "[]", "task": "multi-class"}),
    "a layer too many": (
        linear_head(8, 3).state_dict() | {"0.weight": torch.ones(2, 2)},
        {"classes": "[]", "task": "multi-class"},
    ),
    "a projection head": (projection_head(8, 6, 4, layers=3).state_dict(), {"classes": "[]", "task": "multi-class"}),
    "no last bias": ({"0.weight": torch.ones(2, 2)}, {"classes": "[]", "task": "multi-class"}),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_file_of_something_else(tmp_path: Path, other: str) -> None:
    state, metadata = OTHERS[other]
    safetensors.torch.save_file(state, tmp_path / "head.safetensors", metadata)
    refused(tmp_path / "head.safetensors", "not an intact classifier")


@pytest.mark.parametrize("batch_norm", [False, True])
def test_projection_head_round_trip(tmp_path: Path, batch_norm: bool) -> None:
    head = projection_head(8, 6, 4, batch_norm=batch_norm)
    head(torch.randn(16, 8))
    save_projection(tmp_path / "projection_head.safetensors", head)
    other = projection_head(8, 6, 4, batch_norm=batch_norm)
    other.load_state_dict(load_projection(tmp_path / "projection_head.safetensors"), strict=True)
    features = torch.randn(5, 8)
    assert torch.equal(other.eval()(features), head.eval()(features))


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_no_intact_projection_head(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "projection_head.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"stage\.projection_layers=0") as caught:
        load_projection(path)
    assert "\n" not in str(caught.value)
