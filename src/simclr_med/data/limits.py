"""Limits on what a data file may announce, checked before anything is allocated: a small file could fill the memory."""

from __future__ import annotations

from simclr_med.safe_files import MIB

# One image. The largest common ones, mammograms and dermoscopic photographs, have about 30 million pixels; Pillow warns
# from 89 million on. An image of MOST_PIXELS takes up to 0.4 GB while it is decoded.
MOST_PIXELS = 64 * MIB
MOST_IMAGE_BYTES = 512 * MIB  # of its file: MOST_PIXELS of three 16-bit channels, not compressed, have 384 MiB
MOST_COUNTED_PAGES = 10  # the pages of a TIFF file are a chain, and counting them walks through all of it

# One array of an .npz file.
MOST_RATIO = 100  # of compression: medical images reach 2 to 10, while deflate can reach 1032 with zeros
UNLIMITED_RATIO_BYTES = 256 * MIB  # smaller arrays may be compressed more, as labels and empty images are
MOST_LABEL_BYTES = 256 * MIB  # in memory, as 64-bit integers: a million images with 33 labels
MOST_HEADER_BYTES = 10_000  # before the array's own bytes: numpy.load's limit

MOST_CSV_BYTES = 256 * MIB  # a line for each of two million images
