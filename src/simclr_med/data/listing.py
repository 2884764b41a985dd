"""The images of a folder: found, sorted, and read for splits and classes by the names of subfolders alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from simclr_med.errors import DataError
from simclr_med.types import Split

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Entry:
    """One image file.

    Attributes:
        name: path relative to the folder, with forward slashes.
        split: what its top folder says, or None without split folders.
        label: name of its class folder, or None without class folders.
    """

    name: str
    split: Split | None
    label: str | None


def list_images(root: Path, class_folders: bool | None) -> tuple[Entry, ...]:
    """Every image below root, sorted by name. Hidden files and files of other kinds are passed over.

    Args:
        root: holds ``train/`` and, if it likes, ``val/`` and ``test/`` (or no such folder), each of which holds one
            folder a class with images at any depth, or images alone.
        class_folders: whether subfolders are classes; None: they are, when every image lies in one.

    Raises:
        DataError: no such folder, no images, or a layout that can be read in two ways.
    """
    if not root.is_dir():
        raise DataError(f"dataset.path={root}: must be a folder. Check the path.")
    names = sorted(_images(root))
    if not names:
        raise DataError(
            f"dataset.path={root}: must hold images ({' '.join(ENDINGS)}). There are none{_others(root)}; convert "
            "them or check the path."
        )
    _check_names(root, names)
    splits = {folder.name: SPLIT_FOLDERS[folder.name.lower()] for folder in _split_folders(root)}
    if "train" not in splits.values():
        if splits and splits.keys() >= {PurePosixPath(name).parts[0] for name in names}:
            raise DataError(
                f"dataset.path={root}: must hold train/ beside {' and '.join(sorted(splits))}. Add it, or give these "
                "folders other names if they are classes."
            )
        splits = {}
    if len(set(splits.values())) < len(splits):
        raise DataError(
            f"dataset.path={root}: must hold one folder a split, not {', '.join(sorted(splits))}. Merge them."
        )
    parts = [PurePosixPath(name).parts for name in names]
    if splits:
        beside = next((name for name, part in zip(names, parts, strict=True) if part[0] not in splits), None)
        if beside:
            raise DataError(
                f"dataset.path={root}: must hold images in its split folders alone, but has {beside}. Move it."
            )
    depth = 1 if splits else 0
    labelled = _labelled(root, names, [len(part) > depth + 1 for part in parts], class_folders)
    if labelled:
        _no_empty_class([root / split for split in splits] or [root], {root.joinpath(*p[: depth + 1]) for p in parts})
    entries = (
        Entry(name, splits[part[0]] if splits else None, part[depth] if labelled else None)
        for name, part in zip(names, parts, strict=True)
    )
    return tuple(entries)


def _check_names(root: Path, names: list[str]) -> None:
    """Names that are no text cannot be recorded."""
    for name in names:
        shown = str(root / name).encode("utf-8", "backslashreplace").decode()
        if shown != str(root / name):
            raise DataError(f"{shown}: must have a name in UTF-8. Rename it.")


def _others(root: Path) -> str:
    """The commonest ending of the files that are there instead, in brackets."""
    endings = Counter(path.suffix.lower() for path in root.rglob("*") if path.suffix and path.is_file())
    return "".join(f" ({count} files end in {ending})" for ending, count in endings.most_common(1))


def _labelled(root: Path, names: list[str], nested: list[bool], class_folders: bool | None) -> bool:
    if class_folders is False or not any(nested):
        if class_folders:
            raise DataError(
                f"dataset.class_folders=true: must find class folders in {root}. Make some, or set it to null."
            )
        return False
    if not all(nested):
        raise DataError(
            f"dataset.path={root}: must have all images in class folders or none, but {names[nested.index(False)]} "
            "lies outside. Move it, or set dataset.class_folders=false."
        )
    return True


def _no_empty_class(folders: list[Path], filled: set[Path]) -> None:
    for folder in folders:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not _hidden(child.name) and child not in filled:
                raise DataError(f"{child}: must hold images, as each class folder does. Fill or remove it.")


def _split_folders(root: Path) -> Iterator[Path]:
    return (child for child in root.iterdir() if child.is_dir() and child.name.lower() in SPLIT_FOLDERS)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # what macOS packs beside the files of a zip


def _images(root: Path) -> Iterator[str]:
    """Relative names, following links to folders but entering none twice."""
    entered = set()
    for folder, children, files in os.walk(root, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in entered:
            children.clear()
            continue
        entered.add((stat.st_dev, stat.st_ino))
        children[:] = sorted(child for child in children if not _hidden(child))
        for file in files:
            if not _hidden(file) and file.lower().endswith(ENDINGS):
                yield Path(folder, file).relative_to(root).as_posix()
