"""All twelve layouts, on tiny files made up of medmnist's own table."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from simclr_med.config.medmnist_info import load_medmnist_table, medmnist_info
from simclr_med.data import hashing
from simclr_med.data import medmnist as module
from simclr_med.data.medmnist import MedMNIST
from simclr_med.errors import DataError

FLAGS = [flag for flag in load_medmnist_table() if not flag.endswith("3d")]


def made(root: Path, layout, flag: str = "bloodmnist", size: int = 28, verify: bool = True, **more) -> MedMNIST:
    """The set with a small file of its layout; its MD5 is that of the file."""
    info = medmnist_info(flag, size)
    multi_label = info["task"].startswith("multi-label")
    arrays = layout(size, info["n_channels"], len(info["labels"]), multi_label, **more)
    file = root / (f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz")
    np.savez_compressed(file, **arrays)
    info["md5"] = hashlib.md5(file.read_bytes()).hexdigest()
    return MedMNIST(flag, size, str(root), verify, info)


@pytest.mark.parametrize("flag", FLAGS)
def test_each_set_is_read_in_its_layout(tmp_path: Path, layout, flag) -> None:
    source = made(tmp_path, layout, flag)
    info = medmnist_info(flag, 28)
    train = source.split("train")
    assert train.images.shape == (12, 28, 28, info["n_channels"])
    assert train.labels.shape == (12, len(info["labels"]) if flag == "chestmnist" else 1)
    assert (source.name, source.size, source.channels, source.task) == (flag, 28, info["n_channels"], info["task"])
    assert source.classes == tuple(info["labels"].values())
    np.testing.assert_array_equal(source.labels("train"), train.labels)


def test_there_are_twelve_sets() -> None:
    assert len(FLAGS) == 12


@pytest.mark.parametrize("size", [28, 64, 128, 224])
def test_each_size_has_its_file(tmp_path: Path, layout, size) -> None:
    assert made(tmp_path, layout, size=size).split("val").images.shape == (6, size, size, 3)


def test_the_hash_of_a_verified_set_needs_no_file(tmp_path: Path) -> None:
    info = medmnist_info("bloodmnist", 28)
    source = MedMNIST("bloodmnist", 28, str(tmp_path / "none"), True, info)
    assert source.content_hash() == f"md5:{info['md5']}"
    assert not (tmp_path / "none").exists()


def test_another_md5_is_told_and_taken_when_asked(tmp_path: Path, layout) -> None:
    source = made(tmp_path, layout)
    info = dict(source.info) | {"md5": "0" * 32}
    with pytest.raises(DataError, match=r"must have the MD5 0{32}, it has .*Delete it .*dataset.verify=false"):
        MedMNIST("bloodmnist", 28, str(tmp_path), True, info).split("train")
    as_it_is = MedMNIST("bloodmnist", 28, str(tmp_path), False, info)
    assert len(as_it_is.split("train")) == 12
    assert as_it_is.content_hash() == f"sha256:{hashlib.sha256(as_it_is.file.read_bytes()).hexdigest()}"


def test_an_unchanged_file_is_verified_once(tmp_path: Path, layout, monkeypatch) -> None:
    source = made(tmp_path, layout)
    source.split("train")
    monkeypatch.setattr(hashing, "_digest", lambda *_: pytest.fail("read again"))
    assert len(MedMNIST(source.name, 28, str(tmp_path), True, source.info).split("val")) == 6


def test_a_missing_file_is_downloaded(tmp_path: Path, layout, monkeypatch) -> None:
    source = made(tmp_path, layout)
    content = source.file.read_bytes()
    source.file.unlink()
    calls = []

    def fetch(url: str, md5: str, target: Path) -> None:
        calls.append((url, md5, target))
        target.write_bytes(content)

    monkeypatch.setattr(module, "download", fetch)
    assert len(source.split("train")) == 12
    assert len(source.split("val")) == 6
    assert calls == [(source.info["url"], source.info["md5"], source.file)]


def test_a_file_of_another_size_is_told(tmp_path: Path, layout) -> None:
    source = made(tmp_path, layout, train_images=np.zeros((12, 64, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"train_images\].*must be \[N, 28, 28, 3\] as dataset.size=28"):
        source.split("train")


def test_labels_that_the_set_has_not_are_told(tmp_path: Path, layout) -> None:
    source = made(tmp_path, layout, val_labels=np.full((6, 1), 8, np.uint8))
    assert len(source.split("train")) == 12
    with pytest.raises(DataError, match=r"val_labels\]=8: must lie in 0\.\.7"):
        source.split("val")
