"""The random streams of a run: numbers that keep draws from one seed independent of each other. A leaf.

A generator is seeded from (seed, stream) or from (seed, epoch, stream). Two streams never share a number.
"""

from __future__ import annotations

from enum import IntEnum


class Stream(IntEnum):
    """What a stream of random numbers is for."""

    ENCODER = 1  # initial weights
    HEAD = 2
    SUBSET_ORDER = 11  # the order in which a label budget takes images
    SUBSET_CLASS = 12  # the same within a class
    SUBSET_TIE = 13
    SHUFFLE = 21  # the order of the training images in an epoch
    PARTNER = 22  # another image of the same patient for each image of a step
    ANALYSED_POINTS = 31  # the images that an analysis measures
    SHOWN_IMAGES = 32  # the images that a picture shows
    SELECTION = 41  # clusters and ties of stage=select
    CORRUPTION = 51  # noise and artefacts in test images
    AUGMENTATION = 0xA09  # the parameters of views
