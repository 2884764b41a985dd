"""Small DICOM files of the photometric kinds that hospitals have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def write_dicom(file: Path, pixels: np.ndarray, photometric: str, bits: int = 8, **tags: Any) -> Path:
    """Write a DICOM file.

    Args:
        file: of the result.
        pixels: uint8, uint16 or int16 [H, W], [H, W, 3], or several images [F, H, W].
        photometric: of the pixels. PALETTE COLOR gets a table of 256 greys.
        bits: that the values use.
        tags: further ones by keyword; None removes a tag.
    """
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = LITTLE_ENDIAN
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SECONDARY_CAPTURE
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    is_colour = photometric.startswith(("RGB", "YBR"))
    frames = pixels.shape[0] if pixels.ndim == 3 and not is_colour else None
    data.Rows, data.Columns = pixels.shape[:2] if frames is None else pixels.shape[1:]
    if frames is not None:
        data.NumberOfFrames = frames
    if is_colour:
        data.PlanarConfiguration = 0
    data.SamplesPerPixel = 3 if is_colour else 1
    data.PhotometricInterpretation = photometric
    data.BitsAllocated, data.BitsStored, data.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if photometric == "PALETTE COLOR":
        for name in ("Red", "Green", "Blue"):
            setattr(data, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(data, f"{name}PaletteColorLookupTableData", (np.arange(256) * 257).astype("<u2").tobytes())
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    data.PixelData = content + b"\0" * (len(content) % 2)
    for keyword, value in tags.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file, enforce_file_format=True)
    return file


def ramp(height: int = 8, width: int = 8, highest: int = 4095) -> np.ndarray:
    """Return values from 0 to the highest, uint16 [H, W]."""
    return np.linspace(0, highest, height * width).round().reshape(height, width).astype(np.uint16)
