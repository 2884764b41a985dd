"""Read DICOM files: pixels and the few facts that matter, and no text about a patient.

pydicom's own errors and warnings quote the file, so that neither is printed or kept.
"""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simclr_med.data.intensity import Bounds, DeepImage
from simclr_med.data.limits import MOST_IMAGE_BYTES
from simclr_med.data.tiff import UnsupportedImage, check_size
from simclr_med.safe_files import check_regular, open_regular

_DEFLATED = "1.2.840.10008.1.2.1.99"  # the whole file is one zlib stream, which could unpack to any size
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420")
_HEADER_TAGS = [
    *("PatientID", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "WindowCenter", "VOILUTSequence", "BurnedInAnnotation"),
]


class DicomHeader(NamedTuple):
    """What the header of a DICOM file says.

    Attributes:
        patient: PatientID. It is compared with that of other files, and never shown or saved.
        frames: number of images in the file; 0 for one without pixels, such as a report.
        is_deep: whether its values have more than 8 bits, or another unit than the stored one.
        has_window: whether it states how its values are shown.
        has_burnt_in_text: whether it says that text is part of its pixels.
    """

    patient: str
    frames: int
    is_deep: bool
    has_window: bool
    has_burnt_in_text: bool


def is_dicom_readable() -> bool:
    """Return whether pydicom is installed."""
    return find_spec("pydicom") is not None


def read_dicom_header(file: Path) -> DicomHeader:
    """Read the header; a damaged file counts as one image, and reading its pixels says what is wrong."""
    try:
        pydicom = _load_pydicom()
        _check_transfer(pydicom, file)
        with open_regular(file, MOST_IMAGE_BYTES) as opened:
            header = pydicom.dcmread(opened, stop_before_pixels=True, specific_tags=_HEADER_TAGS)
        has_pixels = bool(header.get("Rows")) and bool(header.get("Columns"))
        return DicomHeader(
            str(header.get("PatientID") or "").strip(),
            int(header.get("NumberOfFrames") or 1) if has_pixels else 0,
            int(header.get("BitsAllocated") or 8) > 8 or _has_rescale(header),
            header.get("WindowCenter") is not None or "VOILUTSequence" in header,
            str(header.get("BurnedInAnnotation") or "").strip().upper() == "YES",
        )
    except Exception:  # pydicom raises a dozen types for damaged files
        return DicomHeader("", 1, False, False, False)


def read_dicom(file: Path, frame: int | None, takes_window: bool) -> DeepImage | np.ndarray:
    """Read one image: grey values in the unit of the modality (such as Hounsfield), or colours as uint8 [H, W, 3].

    Grey images of 8 bits that state no rescale stay uint8 [H, W]. YBR and palette colours become RGB.

    Args:
        file: of DICOM's file format.
        frame: number of the image, from 1; None for a file of one.
        takes_window: whether the file's own window (VOI) is looked for.

    Raises:
        UnsupportedImage: the file is damaged, too large, of an unknown kind, or has several frames and none is named.
    """
    try:
        pydicom = _load_pydicom()
        _check_transfer(pydicom, file)
        with open_regular(file, MOST_IMAGE_BYTES) as opened:
            data = pydicom.dcmread(opened)
            return _read_pixels(pydicom, data, frame, takes_window)
    except (UnsupportedImage, OSError):
        raise
    except Exception as error:
        kind = type(error).__name__
    raise UnsupportedImage(f"not a readable DICOM file ({kind})")


def _load_pydicom() -> Any:
    """Import pydicom, and keep its warnings, which quote the file, from being printed or logged."""
    import pydicom
    import pydicom.pixels  # the submodule is not imported with the package

    logging.getLogger("pydicom").propagate = False
    # Not `catch_warnings`: images are decoded in threads, which share one list of filters.
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def _check_transfer(pydicom: Any, file: Path) -> None:
    """Refuse a file whose compression is unsafe or cannot be read here, before it is opened as a whole."""
    check_regular(file, MOST_IMAGE_BYTES)
    syntax = pydicom.filereader.read_file_meta_info(file).get("TransferSyntaxUID")
    if syntax == _DEFLATED:
        raise UnsupportedImage("expected a DICOM file that is not deflated as a whole")
    if syntax is None or not syntax.is_transfer_syntax:
        raise UnsupportedImage("expected a DICOM file with a known transfer syntax")
    if syntax.is_compressed and not pydicom.pixels.get_decoder(syntax).is_available:
        raise UnsupportedImage(f"no decoder is installed for its compression, {syntax.name}")


def _read_pixels(pydicom: Any, data: Any, frame: int | None, takes_window: bool) -> DeepImage | np.ndarray:
    rows, columns, frames = int(data.Rows), int(data.Columns), int(data.get("NumberOfFrames") or 1)
    check_size(columns, rows)
    if frame is None and frames > 1:
        raise UnsupportedImage(f"expected one image, found {frames} frames; dataset.frames=each reads each of them")
    if min(rows, columns) < 1 or int(data.SamplesPerPixel) not in (1, 3):
        raise UnsupportedImage("expected a DICOM image with one or three samples per pixel")
    photometric = str(data.PhotometricInterpretation)
    if photometric not in (*_GREY, *_COLOUR, "PALETTE COLOR"):
        raise UnsupportedImage("expected grey, RGB, YBR or palette colours")
    pixels: np.ndarray = pydicom.pixels.pixel_array(data, index=0 if frame is None else frame - 1)  # YBR becomes RGB
    if photometric == "PALETTE COLOR":
        pixels = pydicom.pixels.apply_color_lut(pixels, data)
    if photometric not in _GREY:
        return pixels if pixels.dtype == np.uint8 else DeepImage(pixels, _stored_range(data, pixels))
    return _read_grey(pydicom, data, pixels, takes_window)


def _read_grey(pydicom: Any, data: Any, pixels: np.ndarray, takes_window: bool) -> DeepImage | np.ndarray:
    is_inverted = data.PhotometricInterpretation == "MONOCHROME1"
    has_rescale = _has_rescale(data)
    if pixels.dtype == np.uint8 and not has_rescale and not takes_window:
        return 255 - pixels if is_inverted else pixels
    full = _stored_range(data, pixels)
    values = pixels
    if has_rescale:
        values = pydicom.pixels.apply_rescale(pixels, data)
        ends = np.array(full).astype(pixels.dtype)
        full = tuple(sorted(map(float, pydicom.pixels.apply_rescale(ends, data))))  # type: ignore[assignment]
    if not np.isfinite(values).all():
        raise UnsupportedImage("expected finite values")
    window: Bounds | None = None
    if takes_window:
        values, window = _apply_own_window(pydicom, data, values)
    # Integers of 16 bits fit into float32 exactly.
    return DeepImage(values.astype(np.float32), full, window, is_inverted)


def _has_rescale(data: Any) -> bool:
    """Return whether the stored values are not those of the modality."""
    if data.get("ModalityLUTSequence"):
        return True
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    return slope is not None and (float(slope) != 1 or float(intercept or 0) != 0)


def _stored_range(data: Any, pixels: np.ndarray) -> Bounds:
    """Return the range of the stored values, by the bits that are used."""
    if pixels.dtype.kind == "f":
        return float(pixels.min()), float(pixels.max())
    if data.PhotometricInterpretation == "PALETTE COLOR":
        return 0.0, float(np.iinfo(pixels.dtype).max)
    bits = int(data.BitsStored)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if data.PixelRepresentation else (0.0, 2.0**bits - 1)


def _apply_own_window(pydicom: Any, data: Any, values: np.ndarray) -> tuple[np.ndarray, Bounds | None]:
    """Return the values and the bounds of the first window that the file states (PS3.3, C.11.2.1.2)."""
    if data.get("VOILUTSequence"):
        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        return pydicom.pixels.apply_voi(values.astype(np.int64), data), (0.0, 2.0**bits - 1)
    if data.get("WindowCenter") is None or data.get("WindowWidth") is None:
        return values, None
    center, width = (float(np.ravel(np.array(data[key].value, float))[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(data.get("VOILUTFunction") or "LINEAR")
    if not np.isfinite([center, width]).all() or width <= 0:
        return values, None
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -50, 50))), (0.0, 1.0)
    if function == "LINEAR_EXACT":
        return values, (center - width / 2, center + width / 2)
    return values, (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)
