"""Arrays as .npy files with a checksum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simclr_med.data import npy


def test_npy_array_is_checked_by_its_checksum(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    npy.write(tmp_path / "a.npy", array.shape, iter([array.tobytes()[:7], array.tobytes()[7:]]))
    np.testing.assert_array_equal(npy.read(tmp_path / "a.npy", array.shape, mapped=False), array)
    assert npy.read(tmp_path / "a.npy", (3, 5, 4), mapped=False) is None
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[-20] ^= 1
    (tmp_path / "a.npy").write_bytes(content)
    assert npy.read(tmp_path / "a.npy", array.shape, mapped=False) is None
    with pytest.raises(ValueError, match="7 bytes written"):
        npy.write(tmp_path / "b.npy", array.shape, [array.tobytes()[:7]])
    assert not (tmp_path / "b.npy").exists()


def test_a_new_map_is_not_read_again_and_a_changed_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    file, read = tmp_path / "a.npy", []
    compute = npy._compute_crc
    monkeypatch.setattr(npy, "_compute_crc", lambda *given: read.append(given[1]) or compute(*given))
    npy.write(file, array.shape, [array.tobytes()])
    np.testing.assert_array_equal(npy.read(file, array.shape, mapped=True), array)
    assert read == []
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert npy.read(file, array.shape, mapped=True) is None
    assert read == ["a.npy"]
