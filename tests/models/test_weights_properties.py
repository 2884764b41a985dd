"""Whatever a file of weights holds, reading it gives tensors or one error in one line."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from simclr_med.errors import CheckpointError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import tiny
from simclr_med.models.head_files import load_head

pytestmark = pytest.mark.fuzz

ENCODER = tiny()
NAMES = st.sampled_from(
    [
        "conv1.weight",
        "layer1.0.conv1.weight",
        "features.1.0.layer_scale",
        "features.conv0.weight",
        "encoder.conv1.weight",
        "head.0.weight",
        "convnet.conv1.weight",
        "state_dict",
        "encoder_metadata",
        "model.weight",
    ]
)
TENSORS = st.sampled_from(
    [
        torch.ones(()),
        torch.ones(3),
        torch.zeros(0, 3),
        torch.ones(2, 3, 1, 1),
        torch.tensor(float("nan")),
        torch.ones(1).expand(9, 9),
        torch.eye(2).to_sparse(),
        torch.empty(2, device="meta"),
        torch.ones(2, dtype=torch.int8),
        torch.ones(2, dtype=torch.complex64),
    ]
)
TEXTS = st.integers() | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.floats() | st.binary(max_size=5) | TEXTS | TENSORS
CONTAINERS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(NAMES | st.integers() | st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(NAMES, inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights") / "weights.bin"


def check(file: Path) -> None:
    for read in (lambda: load_weights(ENCODER, load_encoder_state(file)), lambda: load_head(file)):
        try:
            read()
        except CheckpointError as error:
            (line,) = error.problems
            assert str(file) in line
            assert "\n" not in line


@given(st.dictionaries(NAMES, CONTAINERS, max_size=5) | CONTAINERS, st.booleans())
def test_any_containers(file: Path, content: Any, zipped: bool) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    check(file)


def contents() -> list[bytes]:
    """A small intact file of each kind."""
    zipped, legacy = io.BytesIO(), io.BytesIO()
    state = {"conv1.weight": torch.ones(2, 3, 1, 1), "bn1.running_var": torch.ones(2)}
    torch.save(state, zipped)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    return [zipped.getvalue(), legacy.getvalue(), safetensors.torch.save(state, {"mean": "[0.5, 0.5, 0.5]"})]


@given(st.sampled_from(contents()), st.integers(0), st.integers(1, 255), st.none() | st.integers(0, 2000))
def test_any_flipped_byte_or_end(file: Path, intact: bytes, place: int, change: int, end: int | None) -> None:
    content = bytearray(intact)
    content[place % len(content)] ^= change
    file.write_bytes(content[:end])
    check(file)


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "I8", "F8_E4M3", "X", 1, None]),
        "shape": st.lists(st.integers(-1, 4) | st.integers(-(2**70), 2**70), max_size=4) | st.none(),
        "data_offsets": st.lists(st.integers(-1, 64) | st.integers(0, 2**70), max_size=3),
    },
)
JSON = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
METADATA = st.dictionaries(
    st.sampled_from(["mean", "std", "encoder", "weights_hash", "classes", "task"]),
    JSON.map(json.dumps) | st.sampled_from(["[0,0,0]", "NaN", "[1e999,0,0]", "[" * 3000, "{}"]) | st.integers(),
)


@given(st.dictionaries(NAMES, ENTRIES, max_size=4), st.none() | METADATA, st.binary(max_size=64), st.integers(-3, 3))
@example({}, {"mean": "[0,0,0]", "classes": "0"}, b"", 0)
def test_any_safetensors_header(file: Path, entries: Any, metadata: Any, body: bytes, error: int) -> None:
    header = json.dumps(entries | ({} if metadata is None else {"__metadata__": metadata})).encode()
    length = max(0, len(header) + error)
    file.write_bytes(length.to_bytes(8, "little") + header + body)
    check(file)


@given(st.binary(max_size=200))
def test_any_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check(file)
