"""Files that are read whole but hold no weights to start from: one line each that says what they hold."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from simclr_med.errors import CheckpointError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import tiny


def spoilt(value: float) -> dict[str, torch.Tensor]:
    state = tiny().state_dict()
    state["conv1.weight"][0, 0, 0, 0] = value
    return state


def whole() -> dict[str, torch.Tensor]:
    return {name: tensor.int() for name, tensor in tiny().state_dict().items()}


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "not a number": (
        lambda path: torch.save(spoilt(float("nan")), path),
        "finite floating-point weights; conv1.weight",
    ),
    "infinite": (lambda path: torch.save(spoilt(float("inf")), path), "finite floating-point weights; conv1.weight"),
    "whole numbers": (lambda path: torch.save(whole(), path), "finite floating-point weights; conv1.weight"),
    "program": (lambda path: torch.jit.script(torch.nn.Linear(2, 2)).save(str(path)), "not a TorchScript program"),
    "keys that are numbers": (lambda path: torch.save({1: torch.ones(2)}, path), "must hold an encoder, not 1."),
    "nested": (lambda path: torch.save({"model": tiny().state_dict()}, path), "it holds model. Save the encoder's"),
    "nothing": (lambda path: torch.save({}, path), "must hold an encoder, not empty."),
    "another pickle": (
        lambda path: path.write_bytes(pickle.dumps({"a": 1}, 4)),
        "which can run code; it was not opened",
    ),
}


@pytest.mark.filterwarnings("error:.*pickle.*:UserWarning", "error:.*TorchScript.*:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_says_what_a_file_holds_instead(tmp_path: Path, name: str) -> None:
    save, told = REFUSED[name]
    path = tmp_path / "weights.pt"
    save(path)
    encoder = tiny()
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(encoder, load_encoder_state(path))
    assert str(caught.value).startswith(f"checkpoint={path}: must ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())
