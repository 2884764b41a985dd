"""Compressed DICOM files have the pixels of the uncompressed ones; those that cannot be read are one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import ramp, write_dicom
from folder_sources import build_folder
from PIL import Image

from simclr_med.data.decoding import decode_image
from simclr_med.data.dicom import read_dicom, read_dicom_header
from simclr_med.data.intensity import FULL, DeepImage
from simclr_med.errors import DataError

gdcm = pytest.importorskip("gdcm")
pydicom = pytest.importorskip("pydicom")

SIDE = 16
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
GREY = (ROWS * 9 + COLUMNS * 6).astype(np.uint8)
COLOUR = np.stack([ROWS * 10, COLUMNS * 10, (ROWS + COLUMNS) * 5], axis=2).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
HOUNSFIELD = (ramp(SIDE, SIDE, 4000).astype(np.int32) - 1000).astype(np.int16)
# Pixels, photometric kind, bits and tags of each kind of image.
KINDS: dict[str, tuple[np.ndarray, str, int, dict[str, Any]]] = {
    "grey": (NOISE, "MONOCHROME2", 8, {}),
    "inverted 12 bits": (ramp(SIDE, SIDE), "MONOCHROME1", 12, {}),
    "16 bits": (ramp(SIDE, SIDE, 65535), "MONOCHROME2", 16, {}),
    "signed with rescale": (HOUNSFIELD, "MONOCHROME2", 16, {"RescaleSlope": 2, "RescaleIntercept": -24}),
    "colour": (COLOUR, "RGB", 8, {}),
}
LOSSLESS = ("JPEGLosslessProcess14_1", "JPEG2000Lossless", "RLELossless", "JPEGLSLossless")
LOSSY = {"JPEG2000": 2, "JPEGLSNearLossless": 3}  # largest error of a smooth image


def write_kind(file: Path, kind: str) -> Path:
    pixels, photometric, bits, tags = KINDS[kind]
    return write_dicom(file, pixels, photometric, bits, **tags)


def read_values(file: Path) -> np.ndarray:
    """Return the values before they become 8 bits."""
    found = read_dicom(file, None, False)
    return found.values if isinstance(found, DeepImage) else found


def compress(file: Path, syntax: str) -> Path:
    """Write a copy of a file in another transfer syntax of gdcm's, with gdcm's own encoder."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(file))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    target = file.with_name(f"{file.stem}-{syntax}.dcm")
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(target).file_meta.TransferSyntaxUID.is_compressed
    return target


def encapsulate(file: Path, encoded: bytes, syntax: str, photometric: str) -> Path:
    """Replace the pixels of a file by compressed ones."""
    data = pydicom.dcmread(file)
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    data.PhotometricInterpretation = photometric
    data.PixelData = pydicom.encaps.encapsulate([encoded])
    data["PixelData"].VR = "OB"
    data.save_as(file)
    return file


def encode(pixels: np.ndarray, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, **options)
    return target.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_compression_keeps_every_pixel(tmp_path: Path, syntax: str, kind: str) -> None:
    plain = write_kind(tmp_path / "a.dcm", kind)
    packed, channels = compress(plain, syntax), 3 if kind == "colour" else 1
    found = decode_image(packed, SIDE, channels, FULL)
    np.testing.assert_array_equal(found, decode_image(plain, SIDE, channels, FULL))
    assert len(np.unique(found)) > 10
    np.testing.assert_array_equal(read_values(packed), read_values(plain))
    assert read_dicom_header(packed) == read_dicom_header(plain)


@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_compression_keeps_the_image(tmp_path: Path, syntax: str) -> None:
    plain = write_dicom(tmp_path / "a.dcm", GREY, "MONOCHROME2")
    found = decode_image(compress(plain, syntax), SIDE, 1, FULL)[..., 0]
    assert np.abs(found.astype(int) - GREY).max() <= LOSSY[syntax]


def test_jpeg_baseline_has_the_pixels_of_the_jpeg(tmp_path: Path) -> None:
    encoded = encode(NOISE, format="JPEG", quality=80)
    file = write_dicom(tmp_path / "a.dcm", NOISE, "MONOCHROME2")
    found = decode_image(encapsulate(file, encoded, "JPEGBaseline8Bit", "MONOCHROME2"), SIDE, 1, FULL)[..., 0]
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(encoded))))
    assert not np.array_equal(found, NOISE), "the compression is lossy"


def test_colours_of_a_jpeg_become_rgb(tmp_path: Path) -> None:
    encoded = encode(COLOUR, format="JPEG", quality=95, subsampling=0)
    file = write_dicom(tmp_path / "a.dcm", COLOUR, "RGB")
    found = decode_image(encapsulate(file, encoded, "JPEGBaseline8Bit", "YBR_FULL_422"), SIDE, 3, FULL)
    assert np.abs(found.astype(int) - COLOUR).max() <= 3


def test_a_second_encoder_of_jpeg_2000(tmp_path: Path) -> None:
    encoded = encode(NOISE, format="JPEG2000", no_jp2=True, irreversible=False)
    file = write_dicom(tmp_path / "a.dcm", NOISE, "MONOCHROME2")
    found = decode_image(encapsulate(file, encoded, "JPEG2000Lossless", "MONOCHROME2"), SIDE, 1, FULL)[..., 0]
    np.testing.assert_array_equal(found, NOISE)


def test_frames_of_a_compressed_file(tmp_path: Path) -> None:
    frames = np.stack([np.full((SIDE, SIDE), 10 * number, np.uint8) for number in range(4)])
    root = compress(write_dicom(tmp_path / "all" / "a.dcm", frames, "MONOCHROME2"), "RLELossless").parent
    (root / "a.dcm").unlink()
    mine = build_folder(root, val_fraction=0.0, test_fraction=0.0, channels=1, frames="each")
    assert mine.split("train").images[:, 0, 0, 0].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY])
def test_truncated_pixels_are_one_line_or_the_same_image_size(tmp_path: Path, syntax: str) -> None:
    """A decoder may fill in what is missing; nothing else than a DataError may leave."""
    file = compress(write_dicom(tmp_path / "a.dcm", NOISE, "MONOCHROME2"), syntax)
    file.write_bytes(file.read_bytes()[:-60])
    try:
        assert decode_image(file, SIDE, 1, FULL).shape == (SIDE, SIDE, 1)
    except DataError as error:
        (line,) = error.problems
        assert "\n" not in line
        assert "not a readable DICOM file" in line


def test_a_compression_without_a_decoder_is_one_line(tmp_path: Path) -> None:
    file = write_dicom(tmp_path / "a.dcm", NOISE, "MONOCHROME2")
    encapsulate(file, b"\xff\x4f" + bytes(100), "HTJ2KLossless", "MONOCHROME2")
    with pytest.raises(DataError, match="no decoder is installed for its compression, High-Throughput JPEG 2000"):
        decode_image(file, SIDE, 1, FULL)
