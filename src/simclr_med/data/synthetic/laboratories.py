"""The laboratories that the drawn images come from: the same cells under another stain, light, focus and scale.

Images are assigned to laboratories independently of their class, so that no trait of a laboratory tells a class.
Colours differ between laboratories and not between classes.
"""

from __future__ import annotations

from typing import NamedTuple

from simclr_med.data.synthetic.classes import Colour


class Laboratory(NamedTuple):
    """What the images of a laboratory share.

    Attributes:
        stain: for each colour, the power of the transmitted light; above 1 is a stronger stain.
        light: colour of the lamp, the factors of red, green and blue.
        slope: unevenness of the light across the image, as a fraction.
        noise: standard deviation of the sensor noise, of values in [0, 1].
        blur: width of edges by defocus, in half image sides.
        scale: magnification.
    """

    stain: Colour
    light: Colour
    slope: float
    noise: float
    blur: float
    scale: float


# Ours: differences that brightness, contrast, hue and blur of the usual augmentations cover.
LABORATORIES = (
    Laboratory(stain=(1.0, 1.0, 1.0), light=(1.0, 1.0, 1.0), slope=0.05, noise=0.02, blur=0.02, scale=1.0),
    Laboratory(stain=(0.82, 1.14, 0.90), light=(1.0, 0.97, 0.99), slope=0.20, noise=0.04, blur=0.04, scale=0.95),
    Laboratory(stain=(1.25, 1.0, 0.86), light=(0.90, 0.93, 0.98), slope=0.10, noise=0.03, blur=0.03, scale=1.05),
    Laboratory(stain=(0.90, 0.93, 1.32), light=(1.0, 0.98, 0.90), slope=0.15, noise=0.02, blur=0.05, scale=1.0),
    Laboratory(stain=(1.18, 1.28, 1.18), light=(0.93, 0.93, 0.93), slope=0.25, noise=0.05, blur=0.02, scale=0.96),
    Laboratory(stain=(0.86, 0.86, 0.86), light=(0.98, 1.0, 0.97), slope=0.10, noise=0.03, blur=0.035, scale=1.04),
)
