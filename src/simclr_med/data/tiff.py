"""Read TIFF files with 16 bits per colour channel, of which Pillow would keep only the upper 8 bits."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from simclr_med.data.limits import MOST_COUNTED_PAGES, MOST_PIXELS

# Compressions whose decoder stops at the size that the file announces (TIFF 6.0 and Adobe's supplements).
_BOUNDED = {1: "none", 5: "LZW", 32773: "PackBits"}
_DEFLATE = (8, 32946)
_FEWEST_CHANNELS = 3


class UnsupportedImage(Exception):
    """An image that is not read; the message says what is expected."""


def read_16_bit_colour(file: BinaryIO) -> np.ndarray | None:
    """Return uint16 [H, W, 3] from a 16-bit colour TIFF; None for every other TIFF.

    Raises:
        UnsupportedImage: the image is too large, has several pages, or a compression that may unpack to any size.
        Exception: of many types, from tifffile, for a damaged file.
    """
    import tifffile

    with tifffile.TiffFile(file, name="image.tif") as tiff:  # else it reads the name of the file object, a number
        page = tiff.pages.first
        if page.dtype != np.uint16 or page.samplesperpixel < _FEWEST_CHANNELS:
            return None
        check_pages(_count_pages(tiff.pages))
        # Samples beyond RGB count as pixels: all of them are decoded.
        check_size(page.imagewidth * page.samplesperpixel // _FEWEST_CHANNELS, page.imagelength * page.imagedepth)
        check_size(page.tilewidth, page.tilelength)
        _check_compression(page)
        pixels: np.ndarray = page.asarray()
        return np.moveaxis(pixels, page.axes.index("S"), -1)[..., :_FEWEST_CHANNELS]


def check_size(width: int, height: int) -> None:
    """Raise UnsupportedImage for more pixels than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise UnsupportedImage(describe_excess(f"{width} x {height}"))


def describe_excess(found: str) -> str:
    """Return what is wrong with an image of too many pixels."""
    return f"expected at most {MOST_PIXELS / 1e6:.0f} million pixels, found {found}"


def check_pages(pages: int) -> None:
    """Raise UnsupportedImage for several pages, of which at most `MOST_COUNTED_PAGES` are counted."""
    if pages > 1:
        more = " or more" if pages >= MOST_COUNTED_PAGES else ""
        raise UnsupportedImage(f"expected one image, found {pages}{more} pages")


def _count_pages(pages: Any) -> int:
    for number in range(1, MOST_COUNTED_PAGES):
        try:
            pages[number]
        except IndexError:
            return number
    return MOST_COUNTED_PAGES


def _check_compression(page: Any) -> None:
    """Unpack deflated parts no further than the image's own size: tifffile would unpack all of them."""
    code = int(page.compression)
    if code in _DEFLATE:
        if any(_exceeds(part, page.nbytes) for part in _parts(page)):
            raise UnsupportedImage("it unpacks to more bytes than it announces")
    elif code not in _BOUNDED:
        raise UnsupportedImage(f"expected no compression, LZW, PackBits or deflate, found {page.compression.name}")


def _parts(page: Any) -> Iterator[bytes]:
    for part, _ in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
        if part is not None:
            yield part


def _exceeds(part: bytes, most_bytes: int) -> bool:
    unpacking = zlib.decompressobj()
    unpacking.decompress(part, most_bytes)
    return bool(unpacking.unconsumed_tail) and not unpacking.eof
