"""DICOM files: photometric kinds, rescale, windows, frames, patients, and no text about a patient."""

from __future__ import annotations

import json
import struct
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_files import ramp, write_dicom
from folder_sources import build_folder
from PIL import Image

from simclr_med.data import dicom, folder_files
from simclr_med.data.decoding import decode_image
from simclr_med.data.folder import Folder
from simclr_med.data.intensity import FULL, Scale
from simclr_med.data.same_patient import find_same_patient
from simclr_med.errors import DataError

pydicom = pytest.importorskip("pydicom")
OWN_WINDOW = Scale("window")
CT = {"RescaleSlope": 1, "RescaleIntercept": -1024}
TEXT_KINDS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
NAME = "PLANTEDNAME"


def grey(file: Path, scale: Scale) -> np.ndarray:
    """Return the decoded image, uint8 [H, W]."""
    return decode_image(file, 8, 1, scale)[..., 0]


def one_line(read: Callable[[], object]) -> str:
    with pytest.raises(DataError) as error:
        read()
    (line,) = error.value.problems
    assert "\n" not in line
    return line


@pytest.mark.parametrize("bits", [12, 16])
def test_grey_values_use_the_whole_range_of_their_bits(tmp_path: Path, bits: int) -> None:
    pixels = ramp(highest=2**bits - 1)
    found = grey(write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME2", bits), FULL)
    np.testing.assert_array_equal(found, np.rint(pixels * (255 / (2**bits - 1))))


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    pixels = ramp()
    usual = grey(write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME2", 12), FULL)
    turned = grey(write_dicom(tmp_path / "b.dcm", pixels, "MONOCHROME1", 12), FULL)
    np.testing.assert_array_equal(turned, 255 - usual)
    eight = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(grey(write_dicom(tmp_path / "c.dcm", eight, "MONOCHROME1"), FULL), 255 - eight)


@pytest.mark.parametrize("rule", ["full", "per_image", "dataset"])
def test_8_bits_stay(tmp_path: Path, rule) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    file = write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME2", RescaleSlope=1, RescaleIntercept=0)
    np.testing.assert_array_equal(grey(file, Scale(rule, (0.0, 9.0) if rule == "dataset" else None)), pixels)


def test_windows_apply_to_the_values_of_the_modality(tmp_path: Path) -> None:
    pixels = ramp(highest=4095)
    file = write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME2", 12, **CT)
    hounsfield = pixels.astype(float) - 1024
    expected = np.rint(np.clip((hounsfield + 160) / 400, 0, 1) * 255)
    np.testing.assert_array_equal(grey(file, Scale("window", (-160.0, 240.0))), expected)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_own_window_is_the_one_of_pydicom(tmp_path: Path, function: str) -> None:
    pixels = ramp(highest=4095)
    tags = {"WindowCenter": [40, 999], "WindowWidth": [400, 1], "VOILUTFunction": function}
    file = write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME2", 12, **CT, **tags)
    data = pydicom.dcmread(file)
    shown = pydicom.pixels.apply_windowing(pydicom.pixels.apply_rescale(pixels, data), data)  # in -1024..3071
    np.testing.assert_array_equal(grey(file, OWN_WINDOW), np.rint((shown + 1024) * (255 / 4095)))


def test_window_of_a_table(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.arange(4096) * 8).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    pixels = ramp()
    file = write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME2", 12, VOILUTSequence=pydicom.Sequence([table]))
    np.testing.assert_array_equal(grey(file, OWN_WINDOW), np.rint(pixels * (8 * 255 / 65535)))


def test_file_without_a_window_names_the_keys(tmp_path: Path) -> None:
    file = write_dicom(tmp_path / "a.dcm", ramp(), "MONOCHROME2", 12)
    line = one_line(lambda: grey(file, OWN_WINDOW))
    assert line.startswith("dataset.intensity=window: ")
    assert "Set dataset.window=[center,width]" in line


def test_colours_become_rgb(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (8, 8, 3), np.uint8)
    kept = decode_image(write_dicom(tmp_path / "a.dcm", pixels, "RGB"), 8, 3, FULL)
    np.testing.assert_array_equal(kept, pixels)
    luma = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    back = decode_image(write_dicom(tmp_path / "b.dcm", luma, "YBR_FULL"), 8, 3, FULL)
    assert np.abs(back.astype(int) - pixels).max() <= 2
    palette = decode_image(write_dicom(tmp_path / "c.dcm", pixels[..., 0], "PALETTE COLOR"), 8, 3, FULL)
    np.testing.assert_array_equal(palette, np.repeat(pixels[..., :1], 3, axis=2))


def folder_of_patients(root: Path) -> Folder:
    """Return a folder with 24 files of 8 patients, some of them without an ending."""
    for number in range(24):
        name = f"{number:02}.dcm" if number % 2 else f"IM{number:04}"
        write_dicom(root / name, ramp() // (1 + number), "MONOCHROME2", 12, PatientID=f"{NAME}{number % 8}", **CT)
    return build_folder(root, intensity="dataset", channels=1)


def test_images_of_a_patient_stay_in_one_split(tmp_path: Path) -> None:
    mine = folder_of_patients(tmp_path / "scans")
    members = [{int(name[-8:].strip("IM.dcm")) % 8 for name in mine.names(split)} for split in ("train", "val", "test")]
    assert sum(map(len, members)) == len(set().union(*members)) == 8
    assert "24 DICOM files: 8 patients by PatientID, each in one split; 0 with a window (VOI)." in mine.remarks().facts


def test_patients_of_the_files_can_be_paired(tmp_path: Path) -> None:
    mine = folder_of_patients(tmp_path / "scans")
    images = len(mine.names("train"))
    assert find_same_patient(mine, np.arange(images)).images_with_partner == images >= 6


def test_patient_in_two_split_folders_is_an_error_without_the_id(tmp_path: Path) -> None:
    for name in ("train/a.dcm", "train/b.dcm", "test/c.dcm"):
        write_dicom(tmp_path / "scans" / name, ramp(), "MONOCHROME2", 12, PatientID=f"{NAME}{'b' in name}")
    line = one_line(lambda: build_folder(tmp_path / "scans").names("train"))
    assert "the patient of test/c.dcm is in train and test. Move all images of a patient" in line
    assert NAME not in line


def test_frames_are_refused_or_read_one_by_one(tmp_path: Path) -> None:
    pixels = np.stack([np.full((8, 8), 10 * frame, np.uint8) for frame in range(6)])
    root = write_dicom(tmp_path / "scans" / "a.dcm", pixels, "MONOCHROME2").parent
    write_dicom(root / "b.dcm", pixels[0], "MONOCHROME2")
    line = one_line(lambda: build_folder(root, val_fraction=0.0, test_fraction=0.0).split("train"))
    assert "a.dcm: expected one image, found 6 frames; dataset.frames=each reads each of them." in line
    mine = build_folder(root, val_fraction=0.0, test_fraction=0.0, channels=1, frames="each")
    found = mine.split("train")
    assert found.names is not None
    assert found.names == (*(f"a.dcm#{number:04}" for number in range(1, 7)), "b.dcm")
    assert found.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50, 0]
    assert build_folder(root).content_hash() != mine.content_hash()


def test_frames_of_a_file_stay_in_one_split(tmp_path: Path) -> None:
    for name in "abcdefgh":
        write_dicom(tmp_path / "scans" / f"{name}.dcm", np.zeros((4, 8, 8), np.uint8), "MONOCHROME2")
    mine = build_folder(tmp_path / "scans", frames="each")
    members = [{name[0] for name in mine.names(split)} for split in ("train", "val", "test")]
    assert sum(map(len, members)) == len(set().union(*members)) == 8


def test_files_without_an_image_are_counted(tmp_path: Path) -> None:
    root = write_dicom(tmp_path / "scans" / "a.dcm", ramp(), "MONOCHROME2", 12).parent
    without = {"Rows": None, "Columns": None, "PixelData": None, "PatientID": NAME}
    write_dicom(root / "report.dcm", ramp(), "MONOCHROME2", 12, **without)
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    mine = build_folder(root, val_fraction=0.0, test_fraction=0.0)
    assert mine.names("train") == ("a.dcm",)
    assert mine.remarks().facts[:2] == (
        "2 files left out: 1 without ending, 1 DICOM without an image.",
        "1 DICOM file: 1 without PatientID, each a patient of its own; 0 with a window (VOI).",
    )


def test_without_pydicom_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_dicom(tmp_path / "scans" / "a.dcm", ramp(), "MONOCHROME2", 12).parent
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "b.png")
    monkeypatch.setattr(folder_files, "is_dicom_readable", lambda: False)
    line = one_line(build_folder(root).content_hash)
    assert "1 DICOM file needs pydicom. Install it with pip install 'simclr-med[dicom]'" in line


def test_burnt_in_text_is_a_warning(tmp_path: Path) -> None:
    root = write_dicom(tmp_path / "a" / "a.dcm", ramp(), "MONOCHROME2", 12, BurnedInAnnotation="YES").parent
    (warning,) = build_folder(root, val_fraction=0.0, test_fraction=0.0, intensity="per_image").remarks().warnings
    assert warning.startswith("1 DICOM file says that text is burnt into the pixels")


def plant(file: Path) -> Path:
    """Write the name into every text of a file, of every kind and in private tags."""
    data = pydicom.dcmread(file)
    for tag, (kind, *_, keyword) in pydicom.datadict.DicomDictionary.items():
        is_needed = keyword in data and keyword != "PatientID"
        if kind in TEXT_KINDS and tag >> 16 in (0x08, 0x10, 0x18, 0x20, 0x32, 0x38, 0x40) and not is_needed:
            data.add_new(tag, kind, NAME)
    data.private_block(0x0011, NAME, create=True).add_new(1, "LO", NAME)
    data.save_as(file)
    return file


@pytest.mark.filterwarnings("ignore:Unknown encoding")  # of the planting itself
def test_no_text_of_a_file_is_kept_or_shown(tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = folder_of_patients(tmp_path / "scans")
    for file in (tmp_path / "scans").iterdir():
        assert plant(file).read_bytes().count(NAME.encode()) > 200
    said = [*mine.remarks().lines, mine.content_hash(), str(mine.split("train")), str(mine.labels("train"))]
    files = [file for file in cache.rglob("*") if file.is_file()]
    assert len(files) >= 4
    assert not [file for file in files if NAME.encode() in file.read_bytes()]
    assert NAME not in "".join([*said, *capfd.readouterr()])


BROKEN = {
    "text as number": {"RescaleSlope": b"PLANTEDNAME ", "RescaleIntercept": b"0 "},
    "text as window": {"WindowCenter": b"PLANTEDNAME ", "WindowWidth": b"1 "},
    "text as bits": {"BitsStored": b"PLANTEDNAME "},
    "unknown kind": {"PhotometricInterpretation": b"PLANTEDNAME "},
}


@pytest.mark.parametrize("tags", BROKEN.values(), ids=BROKEN)
def test_errors_quote_nothing(tmp_path: Path, tags, capfd: pytest.CaptureFixture[str]) -> None:
    file = write_dicom(tmp_path / "scans" / "a.dcm", ramp(), "MONOCHROME2", 12, PatientName=NAME, **CT)
    data = pydicom.dcmread(file)
    for keyword, content in tags.items():
        element = pydicom.dataelem.RawDataElement
        tag = pydicom.tag.Tag(keyword)
        kind = pydicom.datadict.dictionary_VR(tag)
        data._dict[tag] = element(tag, kind, len(content), content, 0, False, True)
    data.save_as(file)
    with pytest.raises(DataError) as error:
        build_folder(file.parent, val_fraction=0.0, test_fraction=0.0, intensity="window").split("train")
    said = "".join([*traceback.format_exception(error.value), *capfd.readouterr()])
    assert str(file) in said
    assert NAME not in said


@pytest.mark.parametrize("keep", [0, 100, 140, 400, -40])
def test_damaged_file_is_one_line(tmp_path: Path, keep: int) -> None:
    rule = "expected a DICOM file with a known transfer syntax" if keep == 140 else "not a readable DICOM file ("
    file = write_dicom(tmp_path / "a.dcm", ramp(), "MONOCHROME2", 12)
    file.write_bytes(file.read_bytes()[:keep])
    assert f"a.dcm: {rule}" in one_line(lambda: grey(file, FULL))


def test_deflated_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = write_dicom(tmp_path / "a.dcm", ramp(), "MONOCHROME2", 12)
    content = file.read_bytes()
    usual, deflated = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    content = content.replace(struct.pack("<H", len(usual)) + usual, struct.pack("<H", len(deflated)) + deflated)
    length = content.index(b"UL\x04\0") + 4
    (group,) = struct.unpack("<I", content[length : length + 4])
    content = content[:length] + struct.pack("<I", group + len(deflated) - len(usual)) + content[length + 4 :]
    packed = zlib.compressobj(wbits=-15)
    file.write_bytes(content + packed.compress(bytes(1 << 20)) + packed.flush())
    assert "expected a DICOM file that is not deflated as a whole" in one_line(lambda: grey(file, FULL))


def test_file_that_announces_too_many_pixels_is_refused(tmp_path: Path) -> None:
    file = write_dicom(tmp_path / "a.dcm", ramp(), "MONOCHROME2", 12, Rows=60000, Columns=60000)
    assert "expected at most 67 million pixels, found 60000 x 60000" in one_line(lambda: grey(file, FULL))


def test_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_dicom(tmp_path / "a.dcm", ramp(), "MONOCHROME2", 12)
    data = pydicom.dcmread(file)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    data.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    data["PixelData"].VR = "OB"
    data.save_as(file)
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda _: type("Decoder", (), {"is_available": False}))
    line = one_line(lambda: grey(file, FULL))
    assert "no decoder is installed for its compression, JPEG Lossless" in line


def test_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder_of_patients(tmp_path / "scans")
    expected = first.names("train"), first.remarks()
    monkeypatch.setattr(dicom, "_load_pydicom", lambda: pytest.fail("read again"))
    again = build_folder(tmp_path / "scans", intensity="dataset", channels=1)
    assert (again.names("train"), again.remarks()) == expected


def test_damaged_cache_of_headers_is_read_again(tmp_path: Path, cache: Path) -> None:
    expected = folder_of_patients(tmp_path / "scans").names("train")
    (saved,) = (cache / "folders").glob("*.json")
    for content in (b"", b"[]", json.dumps({"deep": [1]}).encode(), saved.read_bytes()[:-9]):
        saved.write_bytes(content)
        assert build_folder(tmp_path / "scans", intensity="dataset").names("train") == expected
