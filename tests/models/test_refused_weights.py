"""Intact files without usable weights: one line each that names their content."""

from __future__ import annotations

import pickle
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
    "another pickle": (
        lambda path: path.write_bytes(pickle.dumps({"a": 1}, 4)),
        "which can run code, and was not loaded",
    ),
}


@pytest.mark.filterwarnings("error:.*pickle.*:UserWarning", "error:.*TorchScript.*:UserWarning")
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
