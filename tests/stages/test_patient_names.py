"""The text of DICOM files is nowhere in what commands print, write, cache or log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.process

NAME = "PLANTED^NAME"
FEW = ("encoder=tiny", "stage.epochs=1", "schedule.warmup_epochs=0", "stage.batch_size=8", "trainer=cpu")


def write_scan(file: Path, number: int) -> None:
    """Write a DICOM file of 12 bits with the name in every usual text."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    for tag, (kind, *_) in pydicom.datadict.DicomDictionary.items():
        if kind in ("LO", "LT", "PN", "SH", "ST", "UT") and tag >> 16 in (0x08, 0x10, 0x18, 0x20, 0x32, 0x38, 0x40):
            data.add_new(tag, kind, NAME)
    data.PatientID = f"{NAME}{number // 2}"
    data.Rows = data.Columns = 32
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    pixels = np.random.default_rng(number).integers(0, 4096, (32, 32))
    data.PixelData = pixels.astype("<u2").tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file, enforce_file_format=True)


def find_name(folder: Path) -> list[Path]:
    """Return the files below a folder whose bytes or path contain the name."""
    texts = NAME.encode(), NAME.encode("utf-16-le"), b"PLANTED"
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    return [path for path in found if "PLANTED" in str(path) or any(text in path.read_bytes() for text in texts)]


def test_planted_names_are_found_nowhere(forked: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    for number in range(32):
        write_scan(scans / ("ab"[number % 4 // 2]) / f"{number:02}.dcm", number)
    assert len(find_name(scans)) == 32
    own = (f"dataset.path={scans}", "dataset=folder", "dataset.size=16", "trainer.threads=1")
    said = [
        forked("stage=pretrain", *own, *FEW, "logger=wandb", WANDB_MODE="offline"),
        forked("stage=audit", *own, "logger=none"),
        forked("stage=probe", *own, "encoder=tiny", "init=random", "logger=none", "data_fraction=full"),
        forked("stage=preview", *own, "logger=none"),
    ]
    assert [done.returncode for done in said] == [0] * len(said), said
    (scans / "a" / "00.dcm").write_bytes((scans / "a" / "00.dcm").read_bytes()[:-500])
    said.append(forked("stage=pretrain", *own, *FEW, "logger=none"))
    assert said[-1].returncode == 1
    assert "00.dcm: not a readable DICOM file" in said[-1].stderr
    assert not [done for done in said if "PLANTED" in done.stdout + done.stderr]
    for folder in ("runs", "cache", "work"):
        if any((tmp_path / folder).iterdir()):
            assert not find_name(tmp_path / folder)
    assert list((tmp_path / "runs").rglob("*.wandb"))
    assert "16 patients by PatientID" in said[0].stdout
