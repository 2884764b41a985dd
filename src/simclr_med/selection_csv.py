"""The file selection.csv: images in the order in which to label them, one on a line. A leaf.

`index` is the row in the training split, and `sha256` the digest of the image's pixels, by which the image is found
again after labelling, when the files may be in other folders or in another order. The column `label` is empty: the
user writes the class of each labelled image into it.

A continued selection (methods margin and disagreement) begins with the labelled images. Its further images are those
that a classifier is least sure of: biased by design, no random sample.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simclr_med.csv_cells import escape_cell, unescape_cell
from simclr_med.safe_files import read_text

COLUMNS = ("rank", "split", "index", "file", "label", "method", "round", "cluster", "score", "sha256")
NEEDED = ("index", "method", "sha256")
DIGITS = 32  # hexadecimal digits of a digest
LONGEST_METHOD = 40  # characters
LONGEST_LABEL = 100  # characters


@dataclass(frozen=True)
class SelectedImage:
    """A line of the file.

    Attributes:
        index: row in the training split; only a hint where the digest says otherwise.
        digest: of `simclr_med.data.selected_images.hash_image`.
        method: that selected the images; a continued selection has the names of both methods, ``random-margin``.
        file: name of the image's file; empty for arrays.
        round: size of the selection that the image was chosen for; empty where there are no rounds.
        cluster: of the image; empty where the method has none.
        score: what the method chose by; empty where it chose at random.
        label: class of the image, written by the user; empty before that.
    """

    index: int
    digest: str
    method: str
    file: str = ""
    round: str = ""
    cluster: str = ""
    score: str = ""
    label: str = ""


def format_selection(images: Sequence[SelectedImage]) -> str:
    """Return the text of a selection.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, one in enumerate(images, 1):
        named = (escape_cell(one.file), escape_cell(one.label))
        writer.writerow((rank, "train", one.index, *named, one.method, one.round, one.cluster, one.score, one.digest))
    return text.getvalue()


def read_selection(path: Path) -> list[SelectedImage]:
    """Return the lines of a selection.csv, in its order.

    Raises:
        OSError: the file is missing or unreadable.
        ValueError: it is not a selection: a column is missing, a cell is damaged, or two methods are mixed.
    """
    reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff")))
    try:
        lines = [{name: (cell or "").strip() for name, cell in line.items() if name} for line in reader]
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
    except csv.Error as error:
        raise ValueError(f"not a CSV: {error}") from error
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    images = [_parse_line(number, line) for number, line in enumerate(lines, 2)]
    if not images:
        raise ValueError("no images")
    if len({one.method for one in images}) > 1:
        raise ValueError("several methods")
    repeated = len(images) - len({(one.index, one.digest) for one in images})
    if repeated:
        raise ValueError(f"{repeated} image{'s' * (repeated > 1)} listed twice")
    return images


def _parse_line(number: int, line: dict[str, str]) -> SelectedImage:
    index, method, digest = (line[name] for name in NEEDED)
    if not re.fullmatch("[0-9]{1,15}", index, re.ASCII):
        raise ValueError(f"line {number}: index={index[:40]!r}: expected a row number")
    if not re.fullmatch(r"[\w.-]+", method) or len(method) > LONGEST_METHOD:
        raise ValueError(f"line {number}: method={method[:40]!r}: expected a name")
    if not re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", digest):
        raise ValueError(f"line {number}: sha256={digest[:40]!r}: expected {DIGITS} hexadecimal digits")
    label = unescape_cell(line.get("label", ""))
    if len(label) > LONGEST_LABEL or not label.isprintable():
        raise ValueError(f"line {number}: label={label[:40]!r}: expected the name of a class")
    size, cluster, score = (_keep_number(line.get(name, "")) for name in ("round", "cluster", "score"))
    return SelectedImage(int(index), digest, method, "", size, cluster, score, label)


def _keep_number(cell: str) -> str:
    """Return a cell that holds a number, and nothing of any other."""
    return cell if re.fullmatch(r"-?[0-9][0-9.e+-]{0,30}", cell, re.ASCII) else ""
