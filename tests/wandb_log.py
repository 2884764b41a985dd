"""Reader of the `.wandb` file in a run's folder, which an upload sends."""

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
    """One `.wandb` file: the run, its config, its history, its summary and its exit code (None if it was killed).

    Attributes:
        uploads: paths of the uploaded files by artifact.
    """

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    uploads: dict[str, list[Path]] = field(default_factory=dict)

    def column(self, name: str) -> list[Any]:
        """Return the logged values of a metric in order."""
        return [row[name] for row in self.history if name in row]


def read(path: Path) -> Logged:
    """Return the content of a `.wandb` file without an incomplete last record."""
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
            log.uploads[record.artifact.name] = [Path(entry.local_path) for entry in record.artifact.manifest.contents]
        elif kind == "exit":
            log.exit_code = record.exit.exit_code
    return log


def _items(items: Any) -> dict[str, Any]:
    """Return the values by key; nested keys are joined by dots."""
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log; a record can have several pieces in consecutive blocks."""
    assert content[:4] == b":W&B"
    position, pieces = HEADER, b""
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:  # a block's end too short for a header is padding
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position + HEADER + length > len(content):
            return
        pieces += content[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield pieces
            pieces = b""
