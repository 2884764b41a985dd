"""List the images of a folder, with splits and classes from the names of its subfolders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

from simclr_med.data.file_errors import describe_read_error
from simclr_med.data.pixels import ENDINGS
from simclr_med.data.sniff import is_dicom
from simclr_med.errors import DataError
from simclr_med.types import Split

DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # of Windows; those of macOS are hidden
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
        split: the split of its top folder; None without split folders.
        label: the name of its class folder; None without class folders.
    """

    name: str
    split: Split | None
    label: str | None


@dataclass(frozen=True)
class Listing:
    """The files below a folder.

    Attributes:
        entries: the images, sorted by name.
        others: number of other files by kind, such as ``.docx``; hidden ones and those of the system do not count.
    """

    entries: tuple[Entry, ...]
    others: Mapping[str, int]


def list_images(root: Path, class_folders: bool | None) -> Listing:
    """List every image below root: by its ending, or DICOM by its first bytes where the name has no ending.

    Args:
        root: a folder with ``train/`` and optionally ``val/`` and ``test/``, or without split folders. Each split
            folder (or root) contains one folder per class with images at any depth, or images alone.
        class_folders: whether subfolders are classes; None: they are classes if every image is in a subfolder.

    Raises:
        DataError: the folder is missing or has no images, or its layout is ambiguous.
    """
    if not root.is_dir():
        raise DataError(f"dataset.path={root}: not a folder. Check the path.")
    others: Counter[str] = Counter()
    names = sorted(_find_images(root, others))
    if not names:
        found = "".join(f" ({count} files end in {ending})" for ending, count in others.most_common(1))
        raise DataError(
            f"dataset.path={root}: no images ({' '.join((*ENDINGS, *DICOM_ENDINGS))}) found{found}. "
            "Convert the files, or check the path."
        )
    _check_names(root, names)
    parts = [tuple(name.split("/")) for name in names]
    splits = _find_split_folders(root, parts)
    depth = 1 if splits else 0
    has_classes = _has_class_folders(root, names, [len(part) > depth + 1 for part in parts], class_folders)
    if has_classes:
        folders = [root / split for split in splits] or [root]
        filled = {part[: depth + 1] for part in parts}
        _check_class_folders(folders, {root.joinpath(*part) for part in filled})
    entries = (
        Entry(name, splits[part[0]] if splits else None, part[depth] if has_classes else None)
        for name, part in zip(names, parts, strict=True)
    )
    return Listing(tuple(entries), others)


def _find_images(root: Path, others: Counter[str]) -> Iterator[str]:
    """Yield relative names, and count the other files; links to folders are followed, and none is visited twice."""
    visited = set()
    for folder, children, files in os.walk(root, onerror=_refuse_folder, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in visited:
            children.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        children[:] = sorted(child for child in children if not _is_hidden(child))
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for file in files:
            if _is_hidden(file) or file.lower() in _SYSTEM_FILES:
                continue
            if _is_image(Path(folder), file):
                yield prefix + file
            else:
                others[PurePath(file).suffix.lower() or "without ending"] += 1


def _refuse_folder(error: OSError) -> NoReturn:
    """Raise DataError, since the data set would be another one without this folder."""
    raise describe_read_error(Path(error.filename), error)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # macOS adds this folder to zip files


def _is_image(folder: Path, name: str) -> bool:
    ending = name.rpartition(".")[2]
    if name.lower().endswith((*ENDINGS, *DICOM_ENDINGS)):
        return True
    # Scanners name files by their numbers: IM0001, or 1.2.840.113619.2.55. DICOMDIR is the list of a medium.
    is_number = ending == name or ending.isdigit()
    return is_number and name.upper() != "DICOMDIR" and is_dicom(folder / name)


def _check_names(root: Path, names: Sequence[str]) -> None:
    """Check that every name is valid UTF-8, since names are recorded as text."""
    for name in (root.as_posix(), *names):
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = str(root / name).encode("utf-8", "backslashreplace").decode()
            raise DataError(f"{shown}: the file name is not UTF-8. Rename the file.") from None


def _find_split_folders(root: Path, parts: Sequence[tuple[str, ...]]) -> dict[str, Split]:
    """Return the split of each split folder; empty without ``train/``, since the folders are then classes."""
    splits = {
        child.name: SPLIT_FOLDERS[child.name.lower()]
        for child in root.iterdir()
        if child.is_dir() and child.name.lower() in SPLIT_FOLDERS
    }
    if "train" not in splits.values():
        if splits and splits.keys() >= {part[0] for part in parts}:
            raise DataError(
                f"dataset.path={root}: found {' and '.join(sorted(splits))} but no train/. Add train/, or rename these "
                "folders if they are classes."
            )
        return {}
    if len(set(splits.values())) < len(splits):
        raise DataError(
            f"dataset.path={root}: expected one folder per split, found {', '.join(sorted(splits))}. Merge them."
        )
    outside = next(("/".join(part) for part in parts if part[0] not in splits), None)
    if outside:
        raise DataError(f"dataset.path={root}: {outside} is outside the split folders. Move it into one of them.")
    return splits


def _has_class_folders(root: Path, names: Sequence[str], is_nested: Sequence[bool], class_folders: bool | None) -> bool:
    """Return whether subfolders are classes; is_nested says for each image whether it is in a subfolder."""
    if class_folders is False or not any(is_nested):
        if class_folders:
            raise DataError(
                f"dataset.class_folders=true: no class folders found in {root}. Create them, or set it to null."
            )
        return False
    if not all(is_nested):
        raise DataError(
            f"dataset.path={root}: {names[is_nested.index(False)]} is outside the class folders. Move it into one, or "
            "set dataset.class_folders=false."
        )
    return True


def _check_class_folders(folders: Sequence[Path], filled: set[Path]) -> None:
    """Check that every class folder has images."""
    for folder in folders:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not _is_hidden(child.name) and child not in filled:
                raise DataError(f"{child}: the class folder has no images. Add images or remove the folder.")
