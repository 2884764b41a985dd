"""Draw blood cells with array arithmetic, a block of images at a time.

Lengths are in half image sides (the image spans -1..1 in both directions), angles in radians, colours RGB in [0, 1]. A
shape is a signed distance, negative inside. A soft edge, which also models defocus, turns it into coverage in [0, 1].
The order of the draws is part of the data set: a change gives other images (increase DRAWING_VERSION).
Shape letters: B images, H W pixels, L lobes, R red cells, W waves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simclr_med.data.synthetic.classes import CELL_CLASSES, CellClass, Colour
from simclr_med.data.synthetic.laboratories import LABORATORIES

NUCLEUS: Colour = (0.40, 0.24, 0.54)
CYTOPLASM: Colour = (0.80, 0.73, 0.81)
GRANULES: Colour = (0.44, 0.28, 0.56)
PLASMA: Colour = (0.92, 0.88, 0.88)
RED_CELL: Colour = (0.85, 0.66, 0.66)
LOBES = 5  # highest number of lobes of a nucleus
RED_CELLS = 4  # highest number of red cells around a cell
WAVES = 6  # plane waves of the granule texture
BRIDGE = 0.06  # distance at which two lobes merge
UNIFORMS = 128  # random numbers per image; some are not used


def draw_cells(classes_B: np.ndarray, uniforms_BU: np.ndarray, noise_BHWC: np.ndarray) -> np.ndarray:
    """Draw one image per class index.

    Args:
        classes_B: indices into `CELL_CLASSES`.
        uniforms_BU: [B, UNIFORMS] in [0, 1), all randomness of an image except its sensor noise.
        noise_BHWC: float32 standard normal [B, size, size, 3].

    Returns:
        uint8 [B, size, size, 3] in [0, 255].
    """
    size = noise_BHWC.shape[1]
    draws = UniformDraws(uniforms_BU)
    cell_classes = [CELL_CLASSES[k] for k in classes_B]

    def draw_trait(field: str) -> np.ndarray:
        return draws.draw_uniform(*np.array([getattr(cell_class, field) for cell_class in cell_classes], np.float32).T)

    laboratories = np.array([np.hstack(laboratory) for laboratory in LABORATORIES], np.float32)
    # float32 rounds the largest draws up to the number of laboratories
    own = laboratories[np.minimum(draws.draw_uniform(0, len(LABORATORIES)).astype(int), len(LABORATORIES) - 1)]
    blur, scale = own[:, 8], own[:, 9] * draws.draw_uniform(0.9, 1.1)
    axis = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1
    edge = (1.2 / size + blur * draws.draw_uniform(0.5, 1.5))[:, None, None]
    grid_x, grid_y = (grid / scale[:, None, None] for grid in np.broadcast_arrays(axis, axis[:, None]))
    radius = draw_trait("radius")
    turn = draws.draw_uniform(0, 2 * np.pi)
    x = grid_x - draws.draw_uniform(-0.12, 0.12)[:, None, None]
    y = grid_y - draws.draw_uniform(-0.12, 0.12)[:, None, None]
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    x, y = cos * x + sin * y, cos * y - sin * x
    y = y * draws.draw_uniform(0.85, 1.18)[:, None, None]

    image = _draw_background(draws, grid_x, grid_y, radius, edge)
    cell = _soften(_draw_outline(draws, x, y, radius), edge)
    nucleus = _draw_nucleus(draws, x, y, radius, draw_trait, cell_classes, edge)
    granules = _draw_granules(draws, x, y, draw_trait, edge) * cell * draws.draw_uniform(0.4, 0.9)[:, None, None]
    over = np.array([cell_class.over for cell_class in cell_classes], np.float32)[:, None, None]
    colours = _draw_colours(draws, [CYTOPLASM] * len(cell_classes))
    image = _paint(image, colours, cell * 0.9)
    colours = _draw_colours(draws, [NUCLEUS] * len(cell_classes))
    image = _paint(image, colours, nucleus * cell * draws.draw_uniform(0.7, 1)[:, None, None])
    colours = _draw_colours(draws, [GRANULES] * len(cell_classes))
    image = _paint(image, colours, granules * (1 - nucleus * (1 - over)))
    return _photograph(draws, image, axis, own, noise_BHWC)


class UniformDraws:
    """Uniform draws for all images of a block; each draw uses the next column of uniforms_BU."""

    def __init__(self, uniforms_BU: np.ndarray) -> None:
        self._columns = iter(uniforms_BU.T.astype(np.float32))

    def draw_uniform(self, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        """Draw one value of U(low, high) per image, float32 [B]."""
        return np.asarray(low + (high - low) * next(self._columns), np.float32)


def _soften(distance_BHW: np.ndarray, edge_B11: np.ndarray) -> np.ndarray:
    """Return the coverage: 1 inside, 0 outside, with a smooth step of the edge's width at distance 0."""
    t = np.clip(0.5 - distance_BHW / (2 * edge_B11), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _paint(image_BHWC: np.ndarray, colour_BC: np.ndarray, alpha_BHW: np.ndarray) -> np.ndarray:
    """Blend one colour per image into the images, by opacity."""
    return np.asarray(image_BHWC + (colour_BC[:, None, None] - image_BHWC) * alpha_BHW[..., None])


def _draw_colours(draws: UniformDraws, colours: list[Colour]) -> np.ndarray:
    """Vary the colour of each image slightly, [B, 3]."""
    base = np.array(colours, np.float32)
    return np.asarray(base + np.stack([draws.draw_uniform(-0.02, 0.02) for _ in range(3)], 1))


def _draw_outline(draws: UniformDraws, x: np.ndarray, y: np.ndarray, radius_B: np.ndarray) -> np.ndarray:
    """Draw the distance to a circle whose radius varies with two and three waves around the centre."""
    angle = np.arctan2(y, x)
    wave = sum(
        draws.draw_uniform(0, 0.07)[:, None, None] * np.cos(k * angle + draws.draw_uniform(0, 2 * np.pi)[:, None, None])
        for k in (2, 3)
    )
    return np.asarray(np.hypot(x, y) - radius_B[:, None, None] * (1 + wave))


def _draw_nucleus(
    draws: UniformDraws,
    x: np.ndarray,
    y: np.ndarray,
    radius_B: np.ndarray,
    draw_trait: Callable[[str], np.ndarray],
    cell_classes: list[CellClass],
    edge_B11: np.ndarray,
) -> np.ndarray:
    """Draw the coverage of the nucleus: lobes along an arc, merged where they are close."""
    fewest, most = np.array([cell_class.lobes for cell_class in cell_classes], np.float32).T
    lobes_B = np.floor(draws.draw_uniform(fewest, most + 0.999))
    spread = draw_trait("spread") * radius_B
    span = draw_trait("arc")
    lobe = draw_trait("lobe") * radius_B
    near = np.zeros_like(x)
    for number in range(LOBES):
        is_present = number < lobes_B
        angle = span * (number / np.maximum(lobes_B - 1, 1) - 0.5) + draws.draw_uniform(-0.15, 0.15)
        offset = spread * draws.draw_uniform(0.85, 1.15)
        size = lobe * draws.draw_uniform(0.85, 1.15)
        centre_x = offset * np.cos(angle)
        centre_y = offset * np.sin(angle)
        distance = np.hypot(x - centre_x[:, None, None], y - centre_y[:, None, None]) - size[:, None, None]
        near += np.where(is_present[:, None, None], np.exp(-distance / BRIDGE), 0)
    return _soften(-BRIDGE * np.log(near + 1e-9), edge_B11)


def _draw_granules(
    draws: UniformDraws, x: np.ndarray, y: np.ndarray, draw_trait: Callable[[str], np.ndarray], edge_B11: np.ndarray
) -> np.ndarray:
    """Draw the coverage by granules: a thresholded sum of plane waves of one length in all directions."""
    grain = draw_trait("grain")
    share = draw_trait("granules")
    field = np.zeros_like(x)
    for number in range(WAVES):
        direction = np.pi * number / WAVES + draws.draw_uniform(-0.25, 0.25)
        waves = np.pi * grain * draws.draw_uniform(0.85, 1.15)
        along = x * np.cos(direction)[:, None, None] + y * np.sin(direction)[:, None, None]
        field += np.cos(waves[:, None, None] * along + draws.draw_uniform(0, 2 * np.pi)[:, None, None])
    field /= np.sqrt(WAVES / 2)  # unit variance
    steep = 1 / (0.25 + 0.5 * grain[:, None, None] * edge_B11)  # defocus blurs the granules as well
    height = 1.6 - 3.2 * share[:, None, None]
    return np.asarray(np.clip(0.5 + steep * (field - height), 0, 1) * (share > 0.02)[:, None, None])


def _draw_background(
    draws: UniformDraws, x: np.ndarray, y: np.ndarray, radius_B: np.ndarray, edge_B11: np.ndarray
) -> np.ndarray:
    """Draw plasma with red cells, paler in their centre, around the cell of interest."""
    image = np.broadcast_to(_draw_colours(draws, [PLASMA] * len(radius_B))[:, None, None], (*x.shape, 3))
    colour = _draw_colours(draws, [RED_CELL] * len(radius_B))
    start = draws.draw_uniform(0, 2 * np.pi)
    for number in range(RED_CELLS):
        angle = start + 2 * np.pi * number / RED_CELLS + draws.draw_uniform(-0.6, 0.6)
        size = draws.draw_uniform(0.30, 0.48)
        gap = radius_B + size * draws.draw_uniform(0.7, 1.6)
        is_present = draws.draw_uniform(0, 1) < 0.4
        distance = np.hypot(x - (gap * np.cos(angle))[:, None, None], (y - (gap * np.sin(angle))[:, None, None]) * 1.05)
        inside = _soften(distance - size[:, None, None], edge_B11) * is_present[:, None, None]
        pale = _soften(distance - 0.45 * size[:, None, None], 2 * edge_B11 + 0.1)
        image = _paint(image, colour, inside * (1 - 0.5 * pale) * 0.95)
    return image


def _photograph(
    draws: UniformDraws, image: np.ndarray, axis: np.ndarray, laboratory_BT: np.ndarray, noise_BHWC: np.ndarray
) -> np.ndarray:
    """Apply the laboratory's stain (a power of the transmitted light), uneven light and noise; round to uint8."""
    stain, lamp, (slope, noise) = laboratory_BT[:, :3], laboratory_BT[:, 3:6], laboratory_BT[:, 6:8].T
    power = np.stack([draws.draw_uniform(0.92, 1.08) for _ in range(3)], 1)
    power = power * stain * draws.draw_uniform(0.75, 1.3)[:, None]
    image = np.clip(image, 0.01, 1) ** power[:, None, None]
    direction = draws.draw_uniform(0, 2 * np.pi)
    slope = slope * draws.draw_uniform(0.5, 1.5)
    along = np.cos(direction)[:, None, None] * axis + np.sin(direction)[:, None, None] * axis[:, None]
    lamp = lamp * draws.draw_uniform(0.85, 1.1)[:, None]
    image = image * lamp[:, None, None] * (1 + slope[:, None, None] * along)[..., None]
    image = image + noise[:, None, None, None] * noise_BHWC
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
