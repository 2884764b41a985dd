"""Reading checkpoints that are intact, damaged or malicious."""

from __future__ import annotations

import os
import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from simclr_med.errors import CheckpointError
from simclr_med.models.checkpoints import load_checkpoint


class Malicious:
    """Run a command when unpickled without weights_only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refused(path: Path, words: str) -> str:
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_plain_containers_round_trip(tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.arange(3)}, "epoch": 4, "loops": [{"x": (1, None)}]}
    torch.save(content, tmp_path / "a.ckpt")
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(loaded.pop("state_dict")["a"], torch.arange(3))
    assert loaded == {"epoch": 4, "loops": [{"x": (1, None)}]}


def test_lightnings_data_objects_are_read(tmp_path: Path) -> None:
    torch.save({"hyper_parameters": {"args": Namespace(lr=0.1)}}, tmp_path / "a.ckpt")
    assert load_checkpoint(tmp_path / "a.ckpt")["hyper_parameters"]["args"].lr == 0.1


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, trap = tmp_path / "a.ckpt", tmp_path / "trap"
    torch.save({"state_dict": {}, "extra": Malicious(trap)}, path, _use_new_zipfile_serialization=zipped)
    message = refused(path, "which can run code, and was not loaded")
    assert "mkdir" in message or not zipped
    assert not trap.exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trap = tmp_path / "a.ckpt", tmp_path / "trap"
    path.write_bytes(pickle.dumps({"extra": Malicious(trap)}, protocol=2))
    refused(path, "checkpoint=")
    assert not trap.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, zipped: bool, share: float) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.ones(3000)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "not an intact checkpoint")


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.ones(3000)}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(path, "not an intact checkpoint")


@pytest.mark.parametrize("content", [b"hello world\n", bytes(range(256)) * 10, b"\x80\x02}q\x00."])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    refused(tmp_path / "a.ckpt", "checkpoint=")


def test_missing_files_folders_and_tensors_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.ckpt", "No such file")
    refused(tmp_path, "Name a readable file")
    torch.save(torch.ones(2), tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "expected a dictionary, found Tensor")
