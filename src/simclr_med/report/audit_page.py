"""The page of an audit: one self-contained HTML file with pictures of what was found."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib.image
import numpy as np

from simclr_med.plots.channels import select_shown
from simclr_med.report.html import load_template


@dataclass(frozen=True)
class Picture:
    """One image, or two that belong together.

    Attributes:
        images: uint8 [H, W, 1 or 3] each.
        names: of the images: split, row, class.
        caption: what was found.
    """

    images: Sequence[np.ndarray]
    names: Sequence[str]
    caption: str


@dataclass(frozen=True)
class AuditSection:
    """One kind of findings.

    Attributes:
        key: of the kind.
        title: of the section.
        explanation: what the kind is, how it was found, and why it matters.
        count: number of findings.
        sentences: findings without pictures.
        pictures: some of the findings, the most important first.
        choice: which findings have a picture, in a sentence; empty where all have one.
    """

    key: str
    title: str
    explanation: str
    count: int
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    choice: str = ""


@dataclass(frozen=True)
class AuditPage:
    """What the page shows, from top to bottom.

    Attributes:
        title: of the page.
        level: safe, care or unsafe; the colour of the answer.
        answer: the answer to "Is this set safe to use?", then the reasons, one sentence each.
        advice: what to do; sentences.
        command: that leaves out what is to be left out, or empty.
        facts: of the data set.
        summary: a row for each kind: (title, number, what it means); the first is the heading.
        sections: of the kinds with findings.
    """

    title: str
    level: str
    answer: Sequence[str]
    advice: Sequence[str]
    command: str
    facts: Mapping[str, str]
    summary: Sequence[tuple[str, str, str]]
    sections: Sequence[AuditSection] = field(default_factory=list)


def render_audit_page(page: AuditPage) -> str:
    """Return the HTML; all text is escaped."""
    return load_template("audit.html", {"png": encode_png}).render(page=page)


def encode_png(image_HWC: np.ndarray) -> str:
    """Return an image, uint8 [H, W, C], as a PNG in base64; of more than three channels the first three are shown."""
    image_HWC = select_shown(image_HWC)
    height, width = image_HWC.shape[:2]
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.ascontiguousarray(np.broadcast_to(image_HWC, (height, width, 3))), format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
