"""Read one image file as it is stored, with 8 or more bits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from simclr_med.data.dicom import read_dicom
from simclr_med.data.intensity import DeepImage
from simclr_med.data.limits import MOST_COUNTED_PAGES, MOST_IMAGE_BYTES
from simclr_med.data.tiff import UnsupportedImage, check_pages, check_size, describe_excess, read_16_bit_colour
from simclr_med.safe_files import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")  # of their names; every other image is a DICOM file
_FRAME = re.compile(r"(.+)#(\d{4,})")
_DEEP_PNG = b"\x10"  # 16 bits per channel, in the first chunk


def is_dicom_name(name: str) -> bool:
    """Return whether an image of a folder is a DICOM file."""
    return not name.lower().endswith(ENDINGS)


def name_frame(name: str, frame: int) -> str:
    """Return the name of a frame of a DICOM file, numbered from 1: ``scan.dcm#0001``."""
    return f"{name}#{frame:04d}"


def split_frame(file: Path) -> tuple[Path, int | None]:
    """Return the file and the number of the frame that a path of `name_frame` names; None for a whole file."""
    found = _FRAME.fullmatch(file.name) if is_dicom_name(file.name) else None
    return (file, None) if found is None else (file.with_name(found[1]), int(found[2]))


def has_16_bits(file: Path) -> bool:
    """Return whether a PNG or TIFF has more than 8 bits per channel, by its header; False if that is damaged."""
    from PIL import Image as pil

    ending = file.suffix.lower()
    if ending not in (".png", ".tif", ".tiff"):
        return False
    try:
        with open_regular(file, MOST_IMAGE_BYTES) as opened:
            if ending == ".png":
                return opened.read(25)[24:] == _DEEP_PNG
            with pil.open(opened, formats=FORMATS) as image:
                bits = getattr(image, "tag_v2", {}).get(258, 1)  # BitsPerSample
                return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    except Exception:  # reading its pixels says what is wrong
        return False


def read_pixels(file: Path, takes_window: bool) -> Image | DeepImage:
    """Return an image as it is stored: upright, as a PIL image of 8 bits per channel, or with more bits.

    Args:
        file: of the folder; a frame of a DICOM file is named by `name_frame`.
        takes_window: whether a DICOM file's own window is looked for.

    Raises:
        UnsupportedImage, Exception: of many types; the file is damaged or of another kind.
    """
    from PIL import Image as pil

    if is_dicom_name(file.name):
        found = read_dicom(*split_frame(file), takes_window)
        return found if isinstance(found, DeepImage) else pil.fromarray(found)
    with open_regular(file, MOST_IMAGE_BYTES) as opened:
        return read_opened(opened, file.suffix.lower() in (".tif", ".tiff"))


def read_opened(opened: BinaryIO, is_tiff: bool) -> Image | DeepImage:
    """Return an image as `read_pixels` does, of an open file that is no DICOM file.

    Raises:
        UnsupportedImage, Exception: as `read_pixels`.
    """
    from PIL import ImageOps

    if is_tiff:
        pixels = read_16_bit_colour(opened)
        if pixels is not None:
            return DeepImage(pixels)
        opened.seek(0)
    with _open_image(opened) as image:
        check_size(*image.size)
        check_size(*_tile_size(image))
        check_pages(_count_pages(image))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        upright: Image = image
    is_16_bit = upright.mode.startswith("I;16") or (upright.mode == "I" and image.format == "PNG")
    if is_16_bit:
        return DeepImage(np.asarray(upright))
    if upright.mode in ("I", "F"):
        raise UnsupportedImage("expected 8 or 16 bits per channel, found 32")
    if upright.mode == "P":
        return upright.convert("RGBA" if "transparency" in upright.info else "RGB").convert("RGB")
    return upright


def _open_image(opened: BinaryIO) -> Image:
    """Open an image by its content, in the accepted formats only: for EPS files, PIL would start Ghostscript."""
    from PIL import Image as pil

    try:
        return pil.open(opened, formats=FORMATS)
    except pil.DecompressionBombError as error:
        raise UnsupportedImage(describe_excess("many more")) from error


def _tile_size(image: Image) -> tuple[int, int]:
    """Return (width, height) of a TIFF's tiles, which are decoded one at a time; (0, 0) without tiles."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(322, 0), tags.get(323, 0)  # TileWidth, TileLength


def _count_pages(image: Image) -> int:
    for page in range(1, MOST_COUNTED_PAGES):
        try:
            image.seek(page)
        except EOFError:
            return page
    return MOST_COUNTED_PAGES
