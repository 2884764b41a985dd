"""Batches as a function of seed, epoch and step, and their shares per process."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

from simclr_med.data.device_images import copy_to_device, fits_on_device
from simclr_med.data.loader import Batches, batches_per_pass, epoch_order
from simclr_med.data.same_patient import SamePatient
from simclr_med.data.source import ImageSet


@pytest.fixture
def images() -> ImageSet:
    """Twenty images; image i has the value i in every pixel."""
    numbers = np.arange(20, dtype=np.uint8)
    return ImageSet(
        np.broadcast_to(numbers[:, None, None, None], (20, 4, 4, 3)).copy(), numbers[:, None].astype(np.int64)
    )


def load_batches(images: ImageSet, indices=None, **options) -> list:
    indices = np.arange(len(images)) if indices is None else np.asarray(indices)
    return list(Batches(images, indices, **({"batch_size": 6, "seed": 0, "epoch": 0} | options)))


def test_images_labels_and_indices_belong_together(images) -> None:
    for batch in load_batches(images, [1, 3, 5, 7, 9, 11, 13, 15], batch_size=4):
        assert (batch.images.dtype, batch.images.shape) == (torch.uint8, (4, 4, 4, 3))
        assert (batch.labels.dtype, batch.labels.shape) == (torch.int64, (4, 1))
        assert batch.indices.dtype == torch.int64
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
        assert torch.equal(batch.labels[:, 0], batch.indices)
        assert (batch.indices % 2 == 1).all()


def count_uses(images: ImageSet, epochs: range, **options) -> list[int]:
    """Return how often each image is used in some epochs."""
    used = [batch.indices for epoch in epochs for batch in load_batches(images, epoch=epoch, **options)]
    return torch.bincount(torch.cat(used), minlength=len(images)).tolist()


def test_one_pass_in_full_batches_drops_an_incomplete_one(images) -> None:
    assert [batch.size for batch in load_batches(images)] == [6, 6, 6]
    assert len(Batches(images, np.arange(20), 6, 0, 0)) == 3
    assert sorted(count_uses(images, range(1))) == [0, 0] + [1] * 18


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (250, 128, [125, 125]),
        (187, 128, [94, 93]),
        (129, 128, [65, 64]),
        (38, 128, [38]),
        (1000, 128, [125] * 8),
        (20, 6, [5, 5, 5, 5]),
        (3, 2, [3]),
        (5, 2, [3, 2]),
        (4, 3, [2, 2]),
        (1, 2, [1]),
    ],
)
def test_batches_of_a_pass_are_nearly_equal_and_hold_every_image(count: int, size: int, expected: list[int]) -> None:
    images = ImageSet(np.zeros((count, 2, 2, 1), np.uint8), np.zeros((count, 1), np.int64))
    assert batches_per_pass(count, size) == len(expected)
    found = load_batches(images, batch_size=size, steps=len(expected))
    assert [batch.size for batch in found] == expected
    assert count_uses(images, range(1), batch_size=size, steps=len(expected)) == [1] * count


def test_every_image_is_used_equally_often(images) -> None:
    """20 images in batches of 6 are 4 batches of 5 a pass; epochs of 5 and 6 steps end within a pass."""
    assert count_uses(images, range(1), steps=4) == [1] * 20
    assert count_uses(images, range(3), steps=4) == [3] * 20
    assert sorted(count_uses(images, range(1), steps=5)) == [1] * 15 + [2] * 5
    assert sorted(count_uses(images, range(2), steps=5)) == [2] * 10 + [3] * 10
    assert count_uses(images, range(4), steps=5) == [5] * 20
    assert count_uses(images, range(2), steps=6) == [3] * 20
    # The last step of the first epoch begins the pass that the second epoch ends.
    last, first = load_batches(images, steps=5)[4:], load_batches(images, epoch=1, steps=5)[:3]
    assert sorted(torch.cat([batch.indices for batch in (*last, *first)]).tolist()) == list(range(20))
    assert [batch.key for batch in load_batches(images, epoch=1, steps=5)] == [(0, 1, step) for step in range(5)]


def test_epochs_of_one_pass_have_the_order_of_their_epoch(images) -> None:
    for epoch in range(3):
        one, other = (load_batches(images, epoch=epoch, batch_size=5, steps=steps) for steps in (None, 4))
        assert [batch.indices.tolist() for batch in one] == [batch.indices.tolist() for batch in other]


def test_order_depends_on_seed_and_epoch_alone(images) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat([batch.indices for batch in load_batches(images, seed=seed, epoch=epoch)]).tolist()

    first = order(0, 0)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # the order must not depend on this state
    assert order(0, 0) == first
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6
    assert first != sorted(first)
    once = Batches(images, np.arange(20), 6, 0, 0)
    assert [b.indices.tolist() for b in once] == [b.indices.tolist() for b in once]


def test_epoch_orders_are_uniform() -> None:
    positions = np.array([epoch_order(5, 0, epoch) for epoch in range(4000)])
    frequencies = np.array([np.bincount(positions[:, position], minlength=5) for position in range(5)]) / 4000
    assert np.abs(frequencies - 0.2).max() < 0.03  # 4.7 standard deviations


def test_keys_are_seed_epoch_and_step(images) -> None:
    assert [batch.key for batch in load_batches(images, seed=3, epoch=7)] == [(3, 7, 0), (3, 7, 1), (3, 7, 2)]


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("steps", [None, 4, 7])
def test_shares_of_all_processes_form_the_global_batch(images, world, steps) -> None:
    alone = load_batches(images, steps=steps)
    shares = [load_batches(images, steps=steps, rank=rank, world=world) for rank in range(world)]
    assert {len(share) for share in shares} == {len(alone)}
    for step, whole in enumerate(alone):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([part.indices for part in parts]), whole.indices)
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert [part.rows[0] for part in parts] == [0] + [part.rows[1] for part in parts[:-1]]
        assert parts[-1].rows[1] == whole.size
        assert {part.key for part in parts} == {whole.key}
        assert {part.size for part in parts} == {whole.size}
        for part in parts:
            assert len(part.indices) == part.rows[1] - part.rows[0]


def test_shuffle_false_keeps_the_order(images) -> None:
    found = load_batches(images, [3, 1, 2, 0], batch_size=3, shuffle=False, steps=2)
    assert [batch.indices.tolist() for batch in found] == [[3, 1], [2, 0]]


def test_batch_size_is_limited_to_the_number_of_images(images) -> None:
    few = Batches(images, np.arange(5), 256, 0, 0)
    assert (few.batch_size, len(few), next(iter(few)).size) == (5, 1, 5)


def test_memory_map_gives_the_same_batches(images, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images.images)
    mapped = ImageSet(np.load(tmp_path / "a.npy", mmap_mode="r"), images.labels)
    for one, other in zip(load_batches(images), load_batches(mapped), strict=True):
        assert torch.equal(one.images, other.images)
        other.images.zero_()  # the batch is a copy: the map is read-only


class SpiedMap(mmap.mmap):
    """A memory map that lists what the system is told to read, as ranges of bytes."""

    announced: list[tuple[int, int]]

    def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
        super().madvise(option, start, length)
        self.announced.append((start, start + length))


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="requires madvise")
def test_rows_of_a_memory_map_are_announced_before_they_are_read(tmp_path: Path) -> None:
    offset, shape = 100, (20, 40, 50, 3)
    stored = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (tmp_path / "a").write_bytes(bytes(offset) + stored.tobytes())
    with open(tmp_path / "a", "rb") as file:
        mapped = SpiedMap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.announced = []
    array = np.ndarray.__new__(np.memmap, shape, np.uint8, mapped, offset)
    array.offset = offset
    (batch,) = load_batches(ImageSet(array, None), [3, 4, 17], batch_size=3, shuffle=False)
    np.testing.assert_array_equal(batch.images.numpy(), stored[[3, 4, 17]])
    assert len(mapped.announced) == 3
    for row, (start, stop) in zip((3, 4, 17), mapped.announced, strict=True):
        assert start % mmap.PAGESIZE == 0
        assert start <= offset + row * 6000 < start + mmap.PAGESIZE
        assert stop == offset + (row + 1) * 6000


def test_batches_of_unlabelled_and_multi_label_images(images) -> None:
    assert load_batches(ImageSet(images.images, None))[0].labels is None
    assert load_batches(ImageSet(images.images, np.ones((20, 3), np.int64)))[0].labels.shape == (6, 3)


def test_empty_selection_is_rejected(images) -> None:
    with pytest.raises(ValueError, match="0 rows in batches of 6"):
        load_batches(images, [])


def test_resident_images_give_the_same_batches() -> None:
    generator = np.random.default_rng(0)
    images = ImageSet(generator.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8), np.arange(30)[:, None])
    indices = np.array([3, 29, 0, 11, 12, 7, 20])
    resident = copy_to_device(images.images, indices, torch.device("cpu"))
    options = {"batch_size": 3, "seed": 0, "epoch": 2, "rank": 1, "world": 2}
    for ours, theirs in zip(
        Batches(images, indices, resident=resident, **options), Batches(images, indices, **options), strict=True
    ):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


@pytest.mark.parametrize(("free_bytes", "fits"), [(2 * 5 * 48, True), (2 * 5 * 48 - 1, False)])
def test_images_may_take_half_of_the_free_memory(free_bytes: int, fits: bool) -> None:
    images = np.zeros((9, 4, 4, 3), np.uint8)
    assert fits_on_device(images, np.arange(5), free_bytes) == fits


def test_images_are_copied_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simclr_med.data.device_images.BLOCK_BYTES", 100)
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    rows = np.array([8, 1, 5, 0, 3])
    assert np.array_equal(copy_to_device(images, rows, torch.device("cpu")).numpy(), images[rows])


def test_partners_and_patients_of_two_shares_are_those_of_the_batch(images) -> None:
    rows = np.arange(1, 20)
    same_patient = SamePatient([str(row % 4) for row in rows])
    options = {"same_patient": same_patient, "pair": True, "mask": True, "seed": 3, "epoch": 2}
    whole = load_batches(images, rows, **options)
    shares = [load_batches(images, rows, rank=rank, world=2, **options) for rank in (0, 1)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for name in ("images", "partners", "patients"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name)), name
        own, partner = batch.images[:, 0, 0, 0].long(), batch.partners[:, 0, 0, 0].long()
        assert (own != partner).all()
        assert torch.equal(own % 4, partner % 4)
        assert torch.equal(batch.patients[:, None] == batch.patients, (own % 4)[:, None] == own % 4)


def test_pairs_and_masks_are_independent(images) -> None:
    same_patient = SamePatient(["x"] * 20)
    plain = load_batches(images)
    for pair, mask in ((True, False), (False, True), (False, False)):
        found = load_batches(images, same_patient=same_patient, pair=pair, mask=mask)
        for batch, expected in zip(found, plain, strict=True):
            assert torch.equal(batch.images, expected.images)
            assert (batch.partners is not None, batch.patients is not None) == (pair, mask)
