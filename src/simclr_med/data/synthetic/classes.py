"""What the eight classes of drawn blood cells look like: nucleus, granules and size tell more than colour does."""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[float, float]
Colour = tuple[float, float, float]


class Kind(NamedTuple):
    """How a class of cells looks. Pairs are (low, high) of a uniform draw.

    Attributes:
        name: of the class, as BloodMNIST has it.
        share: images of the class in BloodMNIST's training split (medmnist 3.0), which set the imbalance.
        radius: of the cell.
        lobes: fewest and most lobes of the nucleus; 0: no nucleus.
        spread: radius of the arc that the lobes lie on, as a part of the cell's.
        arc: how much of a circle the lobes span.
        lobe: radius of a lobe, as a part of the cell's.
        grain: waves across the image of the granules' texture: few are coarse granules.
        granules: coverage of the cytoplasm by granules.
        cytoplasm, granule: colours.
        over: how far granules lie over the nucleus as well.
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
    cytoplasm: Colour
    granule: Colour
    over: float


PINK, BLUE, PURPLE, RED = (0.85, 0.74, 0.78), (0.74, 0.72, 0.84), (0.44, 0.28, 0.56), (0.80, 0.44, 0.46)
COARSE, FINE, BARE = (3.5, 5.5), (7.0, 10.0), (0.0, 0.12)

KINDS = (
    Kind(
        name="basophil",
        share=852,
        radius=(0.48, 0.74),
        lobes=(2, 3),
        spread=(0.25, 0.50),
        arc=(1.6, 3.6),
        lobe=(0.30, 0.48),
        grain=COARSE,
        granules=(0.30, 0.60),
        cytoplasm=PINK,
        granule=PURPLE,
        over=0.7,
    ),
    Kind(
        name="eosinophil",
        share=2181,
        radius=(0.50, 0.76),
        lobes=(2, 3),
        spread=(0.36, 0.56),
        arc=(1.8, 3.4),
        lobe=(0.28, 0.42),
        grain=COARSE,
        granules=(0.35, 0.65),
        cytoplasm=PINK,
        granule=RED,
        over=0.1,
    ),
    Kind(
        name="erythroblast",
        share=1085,
        radius=(0.40, 0.64),
        lobes=(1, 1),
        spread=(0.0, 0.12),
        arc=(0.0, 1.0),
        lobe=(0.46, 0.70),
        grain=FINE,
        granules=BARE,
        cytoplasm=PINK,
        granule=PURPLE,
        over=0.0,
    ),
    Kind(
        name="immature granulocyte",
        share=2026,
        radius=(0.52, 0.82),
        lobes=(1, 3),
        spread=(0.20, 0.44),
        arc=(0.6, 2.2),
        lobe=(0.42, 0.62),
        grain=FINE,
        granules=(0.15, 0.50),
        cytoplasm=PINK,
        granule=PURPLE,
        over=0.1,
    ),
    Kind(
        name="lymphocyte",
        share=849,
        radius=(0.40, 0.68),
        lobes=(1, 2),
        spread=(0.0, 0.18),
        arc=(0.0, 1.0),
        lobe=(0.62, 0.88),
        grain=FINE,
        granules=BARE,
        cytoplasm=BLUE,
        granule=PURPLE,
        over=0.0,
    ),
    Kind(
        name="monocyte",
        share=993,
        radius=(0.54, 0.84),
        lobes=(3, 5),
        spread=(0.30, 0.52),
        arc=(1.4, 3.6),
        lobe=(0.30, 0.46),
        grain=FINE,
        granules=BARE,
        cytoplasm=BLUE,
        granule=PURPLE,
        over=0.0,
    ),
    Kind(
        name="neutrophil",
        share=2330,
        radius=(0.50, 0.76),
        lobes=(2, 5),
        spread=(0.40, 0.60),
        arc=(2.4, 5.2),
        lobe=(0.22, 0.34),
        grain=FINE,
        granules=(0.15, 0.50),
        cytoplasm=PINK,
        granule=PURPLE,
        over=0.0,
    ),
    Kind(
        name="platelet",
        share=1643,
        radius=(0.24, 0.52),
        lobes=(0, 0),
        spread=(0.0, 0.1),
        arc=(0.0, 1.0),
        lobe=(0.1, 0.1),
        grain=(4.0, 8.0),
        granules=(0.35, 0.70),
        cytoplasm=BLUE,
        granule=PURPLE,
        over=0.0,
    ),
)
