"""Pairs of images of the same patient, as MICLe takes them (Azizi et al., arXiv 2101.05224, section 3.2).

Shape letters: N selected training images, G images of the global batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.streams import Stream


class SamePatient:
    """Which of the selected images are of the same patient.

    Args:
        patients: the patient of each of N images; an image whose patient is None has no partner.

    Attributes:
        numbers_N: int64 [N], the number of each image's patient.
    """

    def __init__(self, patients: Sequence[str | None]) -> None:
        # A patient of its own for each image without one: a name is text, a position is not.
        names = [position if name is None else name for position, name in enumerate(patients)]
        known: dict[str | int, int] = {}
        self.numbers_N = np.array([known.setdefault(name, len(known)) for name in names], np.int64)
        self._order_N = np.argsort(self.numbers_N, kind="stable")
        self._place_N = np.empty_like(self._order_N)
        self._place_N[self._order_N] = np.arange(len(names))
        counts = np.bincount(self.numbers_N, minlength=len(known))
        self._count_N = counts[self.numbers_N]
        self._first_N = (np.cumsum(counts) - counts)[self.numbers_N]

    @property
    def images_with_partner(self) -> int:
        """Images whose patient has another image."""
        return int((self._count_N > 1).sum())

    @property
    def note(self) -> str:
        """How many images share their patient, for the user."""
        patients = int(self.numbers_N.max()) + 1
        return (
            f"{self.images_with_partner:,} of {len(self.numbers_N):,} training images share their patient with another "
            f"one ({patients:,} patients)."
        )

    def draw_partners(self, positions_G: np.ndarray, key: tuple[int, int, int]) -> np.ndarray:
        """Draw another image of the same patient for each image; the image itself where there is no other.

        All other images of the patient are equally likely, whether they are in the batch or not.

        Args:
            positions_G: int64 [G] in [0, N), the images of the global batch.
            key: (seed, epoch, step), which determines the draw.

        Returns:
            int64 [G] in [0, N).
        """
        state = np.random.SeedSequence([*key, Stream.PARTNER]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        uniform_G = torch.rand(len(positions_G), generator=generator, dtype=torch.float64).numpy()
        count_G, first_G = self._count_N[positions_G], self._first_N[positions_G]
        own_G = self._place_N[positions_G] - first_G
        # 1 to count - 1 steps onwards in the circle of the patient's images; 0 for the only one.
        steps_G = np.minimum(count_G - 1, 1 + np.floor(uniform_G * (count_G - 1)).astype(np.int64))
        return self._order_N[first_G + (own_G + steps_G) % count_G]


def find_same_patient(source: Source, indices: np.ndarray) -> SamePatient:
    """Return which of the selected training images are of the same patient.

    Raises:
        DataError: the data set names no patients, or no patient has two of the images.
    """
    patients = source.patients("train")
    if patients is None:
        raise DataError(
            f"dataset={source.name}: stage.positives=patient and stage.mask_same_patient=true need the patient of each "
            "image. Set dataset.groups_csv (npz, folder), dataset.csv.patient (folder) or dataset.patient (parquet), "
            "or remove both."
        )
    found = SamePatient([patients[row] for row in indices])
    if not found.images_with_partner:
        raise DataError(
            f"dataset={source.name}: no two of the {len(indices)} training images are of the same patient, so "
            "stage.positives=patient and stage.mask_same_patient=true change nothing. Remove both."
        )
    return found
