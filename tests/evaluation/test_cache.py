"""Features on disk: computed once, shared, and computed again when the file is damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from simclr_med.evaluation.cache import cache_key, load_or_compute

FEATURES = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Counted:
    """Return the same features each time, and count the calls."""

    def __init__(self, features: Tensor = FEATURES) -> None:
        self.features, self.times = features, 0

    def __call__(self) -> Tensor:
        self.times += 1
        return self.features.clone()


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_are_computed_once_and_bit_identical(tmp_path: Path, dtype) -> None:
    compute = Counted(FEATURES.to(dtype) / 3)
    for _ in range(3):
        found = load_or_compute(tmp_path / "new" / "folder", "key", compute)
        assert found.dtype == dtype
        assert torch.equal(found, compute.features)
    assert compute.times == 1
    load_or_compute(tmp_path / "new" / "folder", "other key", compute)
    assert compute.times == 2


def test_features_in_another_memory_order_are_stored(tmp_path: Path) -> None:
    compute = Counted(FEATURES.T)
    assert not compute.features.is_contiguous()
    for _ in range(2):
        assert torch.equal(load_or_compute(tmp_path, "key", compute), FEATURES.T)
    assert compute.times == 1


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[12] ^= 255
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    safetensors.torch.save_file({"features_ND": FEATURES + 1}, path)  # no digest: not ours


def misnamed(path: Path) -> None:
    safetensors.torch.save_file({"other": FEATURES}, path)


def retyped(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"'))  # the same bytes, other numbers


def swapped(path: Path) -> None:
    load_or_compute(path.parent / "other", "other key", Counted(FEATURES + 1))
    (path.parent / "other" / "other key.safetensors").rename(path)


@pytest.mark.parametrize("damage", [flip, header, truncate, empty, foreign, misnamed, retyped, swapped])
def test_a_damaged_file_is_reported_and_computed_again(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    load_or_compute(tmp_path, "key", Counted())
    whole = file_of(tmp_path).read_bytes()
    damage(file_of(tmp_path))
    compute = Counted()
    assert torch.equal(load_or_compute(tmp_path, "key", compute), FEATURES)
    assert compute.times == 1
    assert capsys.readouterr().out == f"{file_of(tmp_path)}: damaged file; computing the features again.\n"
    assert len(file_of(tmp_path).read_bytes()) == len(whole)
    assert torch.equal(load_or_compute(tmp_path, "key", compute), FEATURES)
    assert compute.times == 1, "the file was replaced"


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert torch.equal(load_or_compute(tmp_path / "file", "key", Counted()), FEATURES)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path / 'file'}: features could not be stored (")


def test_what_a_killed_process_left_is_deleted(tmp_path: Path) -> None:
    left, other = tmp_path / ".key.safetensors.4194305.tmp", tmp_path / ".ab.safetensors.4194305.tmp"
    for path in (left, other):
        path.write_bytes(b"half")
    load_or_compute(tmp_path, "key", lambda: torch.ones(3, 2))
    assert not left.exists()
    assert other.exists()  # of a process that may be at work


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(path: Path, write: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simclr_med.evaluation.cache.write_bytes", refuse)
    compute = Counted()
    assert torch.equal(load_or_compute(tmp_path, "key", compute), FEATURES)
    assert compute.times == 1
    assert "could not be stored (No space left on device)" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [ValueError, OSError])
def test_an_error_while_computing_is_raised(
    tmp_path: Path, kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    times = []

    def fail() -> Tensor:
        times.append(1)
        raise kind("of the images")

    with pytest.raises(kind, match="of the images"):
        load_or_compute(tmp_path, "key", fail)
    assert len(times) == 1
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("*.safetensors"))
    assert torch.equal(load_or_compute(tmp_path, "key", Counted()), FEATURES)


def test_one_of_several_threads_computes(tmp_path: Path) -> None:
    compute, together = Counted(), threading.Barrier(6)
    found: list[Tensor] = []

    def ask() -> None:
        together.wait()
        found.append(load_or_compute(tmp_path, "key", compute))

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)
    assert len(found) == 6
    assert all(torch.equal(one, FEATURES) for one in found)
    assert compute.times == 1


def test_a_key_depends_on_all_facts_in_any_order() -> None:
    key = cache_key(encoder="a", data=["b", {"size": 28}], split="train")
    assert key == cache_key(split="train", data=["b", {"size": 28}], encoder="a")
    assert len(key) == 32
    others = [
        cache_key(encoder="x", data=["b", {"size": 28}], split="train"),
        cache_key(encoder="a", data=["b", {"size": 64}], split="train"),
        cache_key(encoder="a", data=["b", {"size": 28}], split="val"),
    ]
    assert len({key, *others}) == 4
