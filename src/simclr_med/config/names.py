"""Readable names made of what a user typed, safe as one part of a path."""

from __future__ import annotations

import re
from pathlib import PurePath


def slug(text: str, limit: int = 60) -> str:
    """Letters (of any script), digits, dots and dashes of text, at most limit of them; never empty, never hidden."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:limit].strip("-.") or "unnamed"


def stem(path: str) -> str:
    """The name of a data set that lies at path: its last part without the ending of a file."""
    last = PurePath(path)
    return slug(last.stem if last.suffix.lower() == ".npz" else last.name)
