"""Memory of an epoch over a large data set, measured in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

SIDE, COUNT = 224, 8500  # 1.28 GB: above the size limit of arrays in memory

MEASURE = """
import sys
import numpy as np
from simclr_med.data.npz import Npz
from simclr_med.data.loader import Batches, batches_per_pass

def measure_anonymous_memory():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

before = measure_anonymous_memory()
highest = before
train = Npz("big", sys.argv[1], None, None).split("train")
assert isinstance(train.images, np.memmap)
total = 0
for batch in Batches(train, np.arange(len(train)), 256, 0, 0, steps=batches_per_pass(len(train), 256)):
    highest = max(highest, measure_anonymous_memory())
    total += len(batch.images)
print(total, highest - before)
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="requires /proc (Linux)")
def test_epoch_over_a_large_split_needs_less_than_one_gibibyte(tmp_path: Path) -> None:
    archive = zipfile.ZipFile(tmp_path / "big.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("train_images.npy", "w", force_zip64=True) as member:
        header = {"descr": "|u1", "fortran_order": False, "shape": (COUNT, SIDE, SIDE, 3)}
        np.lib.format.write_array_header_1_0(member, header)
        noise = bytes(range(256)) * (SIDE * SIDE * 3 // (256 * 60))  # a file of zeros alone is refused as a bomb
        generator = np.random.default_rng(0)
        for _ in range(COUNT):
            image = generator.permutation(np.frombuffer(noise, np.uint8)).tobytes()
            member.write(image + bytes(SIDE * SIDE * 3 - len(image)))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "big.npz")],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    total, added = map(int, done.stdout.split())
    assert total == COUNT
    assert added < 1 << 30
    assert len(list((tmp_path / ".simclr_med").glob("*.npy"))) == 1
