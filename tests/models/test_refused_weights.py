"""Intact files without usable weights: one line each that names their content."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from simclr_med.errors import CheckpointError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import tiny


def build_spoilt_state(value: float) -> dict[str, torch.Tensor]:
    state = tiny().state_dict()
    state["conv1.weight"][0, 0, 0, 0] = value
    return state


def build_integer_state() -> dict[str, torch.Tensor]:
    return {name: tensor.int() for name, tensor in tiny().state_dict().items()}


def with_weights(weights: torch.Tensor) -> dict[str, torch.Tensor]:
    return tiny().state_dict() | {"conv1.weight": weights}


def save_compressed(path: Path) -> None:
    torch.save(tiny().state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def with_negative_variance() -> dict[str, torch.Tensor]:
    state = tiny().state_dict()
    name = next(name for name in state if name.endswith("running_var"))
    return state | {name: -state[name]}


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "not a number": (
        lambda path: torch.save(build_spoilt_state(float("nan")), path),
        "expected finite floating-point weights; conv1.weight",
    ),
    "infinite": (
        lambda path: torch.save(build_spoilt_state(float("inf")), path),
        "expected finite floating-point weights; conv1.weight",
    ),
    "whole numbers": (
        lambda path: torch.save(build_integer_state(), path),
        "expected finite floating-point weights; conv1.weight",
    ),
    "program": (
        lambda path: torch.jit.script(torch.nn.Linear(2, 2)).save(str(path)),
        "expected a state dict, found a TorchScript program",
    ),
    "keys that are numbers": (lambda path: torch.save({1: torch.ones(2)}, path), "no encoder found; the file holds 1."),
    "nested": (lambda path: torch.save({"model": tiny().state_dict()}, path), "found model. Save the encoder's"),
    "nothing": (lambda path: torch.save({}, path), "no encoder found; the file holds no tensors."),
    "sparse": (
        lambda path: torch.save(with_weights(torch.eye(3).to_sparse()), path),
        "expected dense tensors in memory; conv1.weight is sparse",
    ),
    "without values": (
        lambda path: torch.save(with_weights(torch.empty(3, device="meta")), path),
        "conv1.weight has no values (device meta)",
    ),
    "quantized": (
        lambda path: torch.save(with_weights(torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)), path),
        "conv1.weight is quantized",
    ),
    "expanded": (
        lambda path: torch.save(with_weights(torch.ones(1).expand(100_000, 100_000)), path),
        "conv1.weight repeats its values",
    ),
    "one dimension": (
        lambda path: torch.save(with_weights(torch.ones(3)), path),
        "expected weights of",
    ),
    "compressed": (save_compressed, "its records are compressed, which torch.save does not do"),
    "negative variance": (
        lambda path: torch.save(with_negative_variance(), path),
        "expected variances >= 0; ",
    ),
    "header of 1 GB": (
        lambda path: path.write_bytes((1 << 30).to_bytes(8, "little") + b"{"),
        "not an intact checkpoint",
    ),
    "another pickle": (
        lambda path: path.write_bytes(pickle.dumps({"a": 1}, 4)),
        "which can run code, and was not loaded",
    ),
}


@pytest.mark.filterwarnings(
    "error:.*pickle.*:UserWarning", "error:.*TorchScript.*:UserWarning", "ignore:torch.quantize_per_tensor"
)
@pytest.mark.parametrize("name", REFUSED)
def test_the_message_names_the_content(tmp_path: Path, name: str) -> None:
    save, message = REFUSED[name]
    path = tmp_path / "weights.pt"
    save(path)
    encoder = tiny()
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(encoder, load_encoder_state(path))
    assert str(caught.value).startswith(f"checkpoint={path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())
