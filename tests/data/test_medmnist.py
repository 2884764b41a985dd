"""The twelve MedMNIST data sets, with small files made from medmnist's table."""

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


def make_source(
    root: Path, make_arrays, flag: str = "bloodmnist", size: int = 28, verify: bool = True, **more
) -> MedMNIST:
    """Write a small file in the layout of a data set and return the data set with the file's MD5."""
    info = medmnist_info(flag, size)
    multi_label = info["task"].startswith("multi-label")
    arrays = make_arrays(size, info["n_channels"], len(info["labels"]), multi_label, **more)
    file = root / (f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz")
    np.savez_compressed(file, **arrays)
    info["md5"] = hashlib.md5(file.read_bytes()).hexdigest()
    return MedMNIST(flag, size, str(root), verify, info)


@pytest.mark.parametrize("flag", FLAGS)
def test_every_data_set_is_read_in_its_layout(tmp_path: Path, make_arrays, flag) -> None:
    source = make_source(tmp_path, make_arrays, flag)
    info = medmnist_info(flag, 28)
    train = source.split("train")
    assert train.images.shape == (12, 28, 28, info["n_channels"])
    assert train.labels.shape == (12, len(info["labels"]) if flag == "chestmnist" else 1)
    assert (source.name, source.size, source.channels, source.task) == (flag, 28, info["n_channels"], info["task"])
    assert source.classes == tuple(info["labels"].values())
    np.testing.assert_array_equal(source.labels("train"), train.labels)


def test_there_are_twelve_data_sets() -> None:
    assert len(FLAGS) == 12


@pytest.mark.parametrize("size", [28, 64, 128, 224])
def test_every_size_has_its_own_file(tmp_path: Path, make_arrays, size) -> None:
    assert make_source(tmp_path, make_arrays, size=size).split("val").images.shape == (6, size, size, 3)


def test_content_hash_of_a_verified_data_set_needs_no_file(tmp_path: Path) -> None:
    info = medmnist_info("bloodmnist", 28)
    source = MedMNIST("bloodmnist", 28, str(tmp_path / "none"), True, info)
    assert source.content_hash() == f"md5:{info['md5']}"
    assert not (tmp_path / "none").exists()


def test_wrong_md5_is_an_error_unless_verify_is_false(tmp_path: Path, make_arrays) -> None:
    source = make_source(tmp_path, make_arrays)
    info = dict(source.info) | {"md5": "0" * 32}
    with pytest.raises(DataError, match=r"expected the MD5 0{32}, found .*Delete the file .*dataset.verify=false"):
        MedMNIST("bloodmnist", 28, str(tmp_path), True, info).split("train")
    unverified = MedMNIST("bloodmnist", 28, str(tmp_path), False, info)
    assert len(unverified.split("train")) == 12
    assert unverified.content_hash() == f"sha256:{hashlib.sha256(unverified.file.read_bytes()).hexdigest()}"


def test_unchanged_file_is_verified_once(tmp_path: Path, make_arrays, monkeypatch) -> None:
    source = make_source(tmp_path, make_arrays)
    source.split("train")
    monkeypatch.setattr(hashing, "_compute_digest", lambda *_: pytest.fail("read again"))
    assert len(MedMNIST(source.name, 28, str(tmp_path), True, source.info).split("val")) == 6


def test_missing_file_is_downloaded(tmp_path: Path, make_arrays, monkeypatch) -> None:
    source = make_source(tmp_path, make_arrays)
    content = source.file.read_bytes()
    source.file.unlink()
    calls = []

    def fetch(url: str, md5: str, target: Path, most_bytes: int) -> None:
        assert len(content) < most_bytes < 1.1 * sum(source.info["n_samples"].values()) * 28 * 28 * 3
        calls.append((url, md5, target))
        target.write_bytes(content)

    monkeypatch.setattr(module, "download", fetch)
    assert len(source.split("train")) == 12
    assert len(source.split("val")) == 6
    assert calls == [(source.info["url"], source.info["md5"], source.file)]


def test_file_of_another_size_is_an_error(tmp_path: Path, make_arrays) -> None:
    source = make_source(tmp_path, make_arrays, train_images=np.zeros((12, 64, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"train_images\].*expected \[N, 28, 28, 3\] with dataset.size=28"):
        source.split("train")


def test_label_out_of_range_is_an_error(tmp_path: Path, make_arrays) -> None:
    source = make_source(tmp_path, make_arrays, val_labels=np.full((6, 1), 8, np.uint8))
    assert len(source.split("train")) == 12
    with pytest.raises(DataError, match=r"val_labels\]=8: expected labels in 0\.\.7"):
        source.split("val")
