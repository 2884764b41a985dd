"""The traits of the eight classes of drawn blood cells: nucleus, granules and size. All have the same colours."""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[float, float]
Colour = tuple[float, float, float]


class CellClass(NamedTuple):
    """Traits of a class of cells. A pair is the (low, high) of a uniform draw per image.

    Attributes:
        name: name of the class in BloodMNIST.
        share: images of the class in BloodMNIST's training split (medmnist 3.0); they set the class proportions.
        radius: radius of the cell in half image sides.
        lobes: lowest and highest number of lobes of the nucleus; 0 is no nucleus.
        spread: radius of the arc of the lobes as a fraction of the cell's radius.
        arc: angle that the lobes span, in radians.
        lobe: radius of a lobe as a fraction of the cell's radius.
        grain: waves of the granule texture across the image; few waves are coarse granules.
        granules: fraction of the cytoplasm covered by granules.
        over: opacity of granules over the nucleus, in [0, 1].
    """

    name: str
    share: int
    radius: Pair
    lobes: tuple[int, int]
    spread: Pair
    arc: Pair
    lobe: Pair
    grain: Pair
    granules: Pair
    over: float


# Grain of granules, and the coverage of cells without granules.
COARSE = (3.5, 5.5)
FINE = (7.0, 10.0)
BARE = (0.0, 0.12)

CELL_CLASSES = (
    CellClass(
        name="basophil",
        share=852,
        radius=(0.48, 0.74),
        lobes=(2, 3),
        spread=(0.25, 0.50),
        arc=(1.6, 3.6),
        lobe=(0.30, 0.48),
        grain=COARSE,
        granules=(0.30, 0.60),
        over=0.7,
    ),
    CellClass(
        name="eosinophil",
        share=2181,
        radius=(0.50, 0.76),
        lobes=(2, 3),
        spread=(0.36, 0.56),
        arc=(1.8, 3.4),
        lobe=(0.28, 0.42),
        grain=COARSE,
        granules=(0.35, 0.65),
        over=0.1,
    ),
    CellClass(
        name="erythroblast",
        share=1085,
        radius=(0.40, 0.64),
        lobes=(1, 1),
        spread=(0.0, 0.12),
        arc=(0.0, 1.0),
        lobe=(0.46, 0.70),
        grain=FINE,
        granules=BARE,
        over=0.0,
    ),
    CellClass(
        name="immature granulocyte",
        share=2026,
        radius=(0.52, 0.82),
        lobes=(1, 3),
        spread=(0.20, 0.44),
        arc=(0.6, 2.2),
        lobe=(0.42, 0.62),
        grain=FINE,
        granules=(0.15, 0.50),
        over=0.1,
    ),
    CellClass(
        name="lymphocyte",
        share=849,
        radius=(0.40, 0.68),
        lobes=(1, 2),
        spread=(0.0, 0.18),
        arc=(0.0, 1.0),
        lobe=(0.62, 0.88),
        grain=FINE,
        granules=BARE,
        over=0.0,
    ),
    CellClass(
        name="monocyte",
        share=993,
        radius=(0.54, 0.84),
        lobes=(3, 5),
        spread=(0.30, 0.52),
        arc=(1.4, 3.6),
        lobe=(0.30, 0.46),
        grain=FINE,
        granules=BARE,
        over=0.0,
    ),
    CellClass(
        name="neutrophil",
        share=2330,
        radius=(0.50, 0.76),
        lobes=(2, 5),
        spread=(0.40, 0.60),
        arc=(2.4, 5.2),
        lobe=(0.22, 0.34),
        grain=FINE,
        granules=(0.15, 0.50),
        over=0.0,
    ),
    CellClass(
        name="platelet",
        share=1643,
        radius=(0.24, 0.52),
        lobes=(0, 0),
        spread=(0.0, 0.1),
        arc=(0.0, 1.0),
        lobe=(0.1, 0.1),
        grain=(4.0, 8.0),
        granules=(0.35, 0.70),
        over=0.0,
    ),
)
