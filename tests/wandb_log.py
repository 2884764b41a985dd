"""Reads the `.wandb` file that Weights & Biases leaves in a run's folder: what an upload would send."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER = 7  # bytes of the file's header (":W&B", magic, version) and of each piece's (CRC-32, length, type)
BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Logged:
    """One `.wandb` file: the run as announced, its config, the rows of its history, its exit code (None: killed).

    Attributes:
        uploads: by artifact the files that an upload takes from where they lie.
    """

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    uploads: dict[str, list[Path]] = field(default_factory=dict)

    def column(self, name: str) -> list[Any]:
        """A metric's values in the order they were logged."""
        return [row[name] for row in self.history if name in row]


def read(path: Path) -> Logged:
    """What a `.wandb` file holds; a last record that a kill cut short is left out."""
    log = Logged()
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            log.run = log.run or record.run
            log.config |= _items(record.run.config.update)
        elif kind == "config":
            log.config |= _items(record.config.update)
        elif kind == "history":
            log.history.append(_items(record.history.item))
        elif kind == "summary":
            log.summary |= _items(record.summary.update)
        elif kind == "artifact":
            log.uploads[record.artifact.name] = [Path(one.local_path) for one in record.artifact.manifest.contents]
        elif kind == "exit":
            log.exit_code = record.exit.exit_code
    return log


def _items(items: Any) -> dict[str, Any]:
    """Key to value; a nested key is joined by dots."""
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log: each whole in one piece, or in several over the ends of blocks."""
    assert content[:4] == b":W&B"
    at, pieces = HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # a block's end too short for a header is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        if kind not in (FULL, FIRST, MIDDLE, LAST) or at + HEADER + length > len(content):
            return
        pieces += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            yield pieces
            pieces = b""
