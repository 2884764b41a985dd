"""The check for memorised training images, with encoders that remember or do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simclr_med.augment.sequence import to_float
from simclr_med.evaluation.memorization import CORNER, LabelledGroup, crop_corner, measure_memorization

SIZE = 10


class Remembering(nn.Module):
    """Returns the class of a known image for its corner; for others what the middle of the image says."""

    def __init__(self, known: LabelledGroup | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.mean = torch.zeros(1, 3, 1, 1)
        self.known: dict[bytes, int] = {}
        if known is not None:
            corners = crop_corner(to_float(torch.from_numpy(known.images)))
            self.known = {corner.numpy().tobytes(): int(y) for corner, y in zip(corners, known.labels, strict=True)}

    def forward(self, images_BCHW: Tensor) -> Tensor:
        middle = [int(image[0, SIZE // 2, SIZE // 2] > 0.5) for image in images_BCHW]
        found = [self.known.get(image.numpy().tobytes(), y) for image, y in zip(images_BCHW, middle, strict=True)]
        return nn.functional.one_hot(torch.tensor(found), 2).float()


def draw(count: int, seed: int) -> LabelledGroup:
    """Draw images of two classes: noise, but for a pixel in the middle, which no corner shows."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = generator.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    images[:, SIZE // 2, SIZE // 2] = 255 * labels[:, None]
    return LabelledGroup(images, labels.astype(np.int64))


@pytest.mark.parametrize("remembers", [True, False])
def test_only_remembered_images_make_a_difference(remembers: bool) -> None:
    bank, trained, held_out = draw(40, 0), draw(120, 1), draw(100, 2)
    encoder = Remembering(trained if remembers else None).eval()
    found = measure_memorization(encoder, bank, trained, held_out, to_float, (5, 0.07), seed=0)  # type: ignore[arg-type]
    assert found.images == (120, 100)
    assert found.held_out == pytest.approx(0.5, abs=0.15)
    assert (found.trained == 1) is remembers
    assert (found.low > 0) is remembers
    assert found.low < found.trained - found.held_out < found.high


def test_the_interval_is_that_of_a_bootstrap_of_images() -> None:
    bank, trained, held_out = draw(40, 0), draw(400, 1), draw(300, 2)
    encoder = Remembering(None).eval()
    found = measure_memorization(encoder, bank, trained, held_out, to_float, (5, 0.07), seed=0)  # type: ignore[arg-type]
    # Two classes of equal size: the variance of a mean of shares is that of all images.
    error = sum(p * (1 - p) / n for p, n in zip((found.trained, found.held_out), found.images, strict=True)) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_the_corner_is_the_lower_left_one() -> None:
    images = torch.zeros(1, 3, SIZE, SIZE)
    side = round(CORNER * SIZE)
    images[..., SIZE - side :, :side] = 1
    torch.testing.assert_close(crop_corner(images), torch.ones_like(images))
    assert crop_corner(images).shape == images.shape


def test_groups_without_common_classes_are_refused() -> None:
    one = draw(10, 0)
    other = LabelledGroup(one.images, np.full(10, 7))
    with pytest.raises(ValueError, match="share fewer than two classes"):
        measure_memorization(Remembering(None), one, one, other, to_float, (5, 0.07), seed=0)  # type: ignore[arg-type]
