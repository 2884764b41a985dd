"""Blood cells as arithmetic: parameters by image, then whole blocks of images drawn at once.

Lengths are in half image sides (the image spans -1..1 both ways), angles in radians, colours RGB in [0, 1]. Shapes are
signed distances, negative inside, turned into coverage by a soft edge that also serves as defocus.
Shape letters: B images, H W pixels, L lobes, R red cells, W waves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simclr_med.data.synthetic.classes import KINDS, Colour, Kind

NUCLEUS: Colour = (0.40, 0.24, 0.54)
PLASMA: Colour = (0.92, 0.88, 0.88)
RED_CELL: Colour = (0.85, 0.66, 0.66)
LOBES, RED_CELLS, WAVES = 5, 4, 6
BRIDGE = 0.06  # how far apart two lobes are joined
UNIFORMS = 128  # random numbers that one image consumes, some of them spare


def draw_cells(kinds_B: np.ndarray, uniforms_BU: np.ndarray, noise_BHWC: np.ndarray) -> np.ndarray:
    """Images of the given kinds.

    Args:
        kinds_B: indices into `KINDS`.
        uniforms_BU: [B, UNIFORMS] in [0, 1), all the randomness of an image but its sensor noise.
        noise_BHWC: float32 standard normal [B, size, size, 3].

    Returns:
        uint8 [B, size, size, 3].
    """
    size = noise_BHWC.shape[1]
    take = _Draws(uniforms_BU)
    kinds = [KINDS[k] for k in kinds_B]

    def of_kind(field: str) -> np.ndarray:
        return take.between(*np.array([getattr(kind, field) for kind in kinds], np.float32).T)

    axis = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1
    edge = (1.2 / size + take.between(0.0, 0.12))[:, None, None]
    grid_x, grid_y = np.broadcast_to(axis, (size, size)), np.broadcast_to(axis[:, None], (size, size))
    radius = of_kind("radius")
    turn = take.between(0, 2 * np.pi)
    x = grid_x - take.between(-0.12, 0.12)[:, None, None]
    y = grid_y - take.between(-0.12, 0.12)[:, None, None]
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    x, y = cos * x + sin * y, cos * y - sin * x
    y = y * take.between(0.85, 1.18)[:, None, None]

    image = _background(take, grid_x, grid_y, radius, edge)
    cell = _coverage(_outline(take, x, y, radius), edge)
    nucleus = _nucleus(take, x, y, radius, of_kind, kinds, edge)
    granules = _granules(take, x, y, of_kind, edge) * cell * take.between(0.4, 0.9)[:, None, None]
    over = np.array([kind.over for kind in kinds], np.float32)[:, None, None]
    image = _laid(image, _colours(take, [kind.cytoplasm for kind in kinds]), cell * 0.9)
    image = _laid(image, _colours(take, [NUCLEUS] * len(kinds)), nucleus * cell * take.between(0.7, 1)[:, None, None])
    image = _laid(image, _colours(take, [kind.granule for kind in kinds]), granules * (1 - nucleus * (1 - over)))
    return _photographed(take, image, grid_x, grid_y, noise_BHWC)


class _Draws:
    """Hands out the columns of uniforms_BU one after the other."""

    def __init__(self, uniforms_BU: np.ndarray) -> None:
        self._columns = iter(uniforms_BU.T.astype(np.float32))

    def between(self, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        return np.asarray(low + (high - low) * next(self._columns), np.float32)


def _coverage(distance_BHW: np.ndarray, edge_B11: np.ndarray) -> np.ndarray:
    """1 inside, 0 outside, by a smooth step of the edge's width around distance 0."""
    t = np.clip(0.5 - distance_BHW / (2 * edge_B11), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _laid(image_BHWC: np.ndarray, colour_BC: np.ndarray, alpha_BHW: np.ndarray) -> np.ndarray:
    return np.asarray(image_BHWC + (colour_BC[:, None, None] - image_BHWC) * alpha_BHW[..., None])


def _colours(take: _Draws, colours: list[Colour]) -> np.ndarray:
    base = np.array(colours, np.float32)
    return np.asarray(base + np.stack([take.between(-0.02, 0.02) for _ in range(3)], 1))


def _outline(take: _Draws, x: np.ndarray, y: np.ndarray, radius_B: np.ndarray) -> np.ndarray:
    """A circle whose radius swings two and three times around."""
    angle = np.arctan2(y, x)
    wave = sum(
        take.between(0, 0.07)[:, None, None] * np.cos(k * angle + take.between(0, 2 * np.pi)[:, None, None])
        for k in (2, 3)
    )
    return np.asarray(np.hypot(x, y) - radius_B[:, None, None] * (1 + wave))


def _nucleus(
    take: _Draws,
    x: np.ndarray,
    y: np.ndarray,
    radius_B: np.ndarray,
    of_kind: Callable[[str], np.ndarray],
    kinds: list[Kind],
    edge_B11: np.ndarray,
) -> np.ndarray:
    """Coverage by lobes strung along an arc and bridged where they are near."""
    fewest, most = np.array([kind.lobes for kind in kinds], np.float32).T
    lobes_B = np.floor(take.between(fewest, most + 0.999))
    spread, span, lobe = of_kind("spread") * radius_B, of_kind("arc"), of_kind("lobe") * radius_B
    near = np.zeros_like(x)
    for number in range(LOBES):
        there = number < lobes_B
        angle = span * (number / np.maximum(lobes_B - 1, 1) - 0.5) + take.between(-0.15, 0.15)
        across, size = spread * take.between(0.85, 1.15), lobe * take.between(0.85, 1.15)
        middle_x, middle_y = across * np.cos(angle), across * np.sin(angle)
        distance = np.hypot(x - middle_x[:, None, None], y - middle_y[:, None, None]) - size[:, None, None]
        near += np.where(there[:, None, None], np.exp(-distance / BRIDGE), 0)
    return _coverage(-BRIDGE * np.log(near + 1e-9), edge_B11)


def _granules(
    take: _Draws, x: np.ndarray, y: np.ndarray, of_kind: Callable[[str], np.ndarray], edge_B11: np.ndarray
) -> np.ndarray:
    """Coverage by grains: a sum of plane waves of one length and all directions, cut off at a height."""
    grain, share = of_kind("grain"), of_kind("granules")
    field = np.zeros_like(x)
    for number in range(WAVES):
        direction = np.pi * number / WAVES + take.between(-0.25, 0.25)
        waves = np.pi * grain * take.between(0.85, 1.15)
        along = x * np.cos(direction)[:, None, None] + y * np.sin(direction)[:, None, None]
        field += np.cos(waves[:, None, None] * along + take.between(0, 2 * np.pi)[:, None, None])
    field /= np.sqrt(WAVES / 2)  # unit variance
    steep = 1 / (0.25 + 0.5 * grain[:, None, None] * edge_B11)  # a defocused image has blurred grains
    height = 1.6 - 3.2 * share[:, None, None]
    return np.asarray(np.clip(0.5 + steep * (field - height), 0, 1) * (share > 0.02)[:, None, None])


def _background(take: _Draws, x: np.ndarray, y: np.ndarray, radius_B: np.ndarray, edge_B11: np.ndarray) -> np.ndarray:
    """Plasma with red cells around the cell of interest, each paler in its middle."""
    image = np.broadcast_to(_colours(take, [PLASMA] * len(radius_B))[:, None, None], (*edge_B11.shape[:1], *x.shape, 3))
    colour = _colours(take, [RED_CELL] * len(radius_B))
    start = take.between(0, 2 * np.pi)
    for number in range(RED_CELLS):
        angle = start + 2 * np.pi * number / RED_CELLS + take.between(-0.6, 0.6)
        size = take.between(0.30, 0.48)
        away = radius_B + size * take.between(0.7, 1.6)
        there = take.between(0, 1) < 0.4
        distance = np.hypot(
            x - (away * np.cos(angle))[:, None, None], (y - (away * np.sin(angle))[:, None, None]) * 1.05
        )
        inside = _coverage(distance - size[:, None, None], edge_B11) * there[:, None, None]
        pale = _coverage(distance - 0.45 * size[:, None, None], 2 * edge_B11 + 0.1)
        image = _laid(image, colour, inside * (1 - 0.5 * pale) * 0.95)
    return image


def _photographed(take: _Draws, image: np.ndarray, x: np.ndarray, y: np.ndarray, noise_BHWC: np.ndarray) -> np.ndarray:
    """Stain (a power of the transmitted light, by colour), uneven light, and the sensor's noise."""
    strength = take.between(0.55, 1.8)
    power = np.stack([strength * take.between(0.95, 1.05) for _ in range(3)], 1)
    image = np.clip(image, 0.01, 1) ** power[:, None, None]
    direction, slope, light = take.between(0, 2 * np.pi), take.between(0, 0.18), take.between(0.70, 1.10)
    along = np.cos(direction)[:, None, None] * x + np.sin(direction)[:, None, None] * y
    image = image * (light[:, None, None] * (1 + slope[:, None, None] * along))[..., None]
    image = image + take.between(0.01, 0.05)[:, None, None, None] * noise_BHWC
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
