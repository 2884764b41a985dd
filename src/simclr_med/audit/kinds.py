"""The kinds of findings, in the order of the page: what distorts scores comes first."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """How the page and the summary present a kind.

    Attributes:
        title: of its rows and its section.
        meaning: why it matters, in one sentence.
        method: how it is found.
    """

    title: str
    meaning: str
    method: str


KINDS: dict[str, Kind] = {
    "exact_duplicate": Kind(
        "exact duplicates",
        "The same image twice. Across splits, test scores reward memory.",
        "All pixels are equal (SHA-256). The pair of each further copy with the first one is listed.",
    ),
    "near_duplicate": Kind(
        "near duplicates",
        "The same shot, shifted, mirrored, turned, brightened or compressed. They distort scores as exact ones do.",
        "The details of the two images correlate more than the details of different images of this set do by chance, "
        "at their best shift of up to 2 pixels and their best of 8 orientations.",
    ),
    "opposite_labels": Kind(
        "duplicates with different labels",
        "At least one of the two labels is wrong.",
        "Exact or near duplicates whose labels differ.",
    ),
    "shared_group": Kind(
        "patients in several splits",
        "Test scores then say little about new patients.",
        "stage.groups_csv names the same patient for images of different splits.",
    ),
    "shared_source": Kind(
        "signs of patients in several splits",
        "Test scores then say little about new patients.",
        "Without duplicates, the nearest images of other splits should not know more than a classifier does.",
    ),
    "label_error": Kind(
        "labels to check",
        "Wrong labels in training cost accuracy; in the test split they bound every score.",
        "The nearest images and a cross-validated classifier together find another class six times as probable or "
        "more; the least probable labels come first. They are candidates: rare but right labels are among them.",
    ),
    "class_shift": Kind(
        "class shares differ between splits",
        "Probabilities and accuracy of validation do not carry over to the test split.",
        "Chi-square test (p < 0.001) with an effect that is not negligible (Cramér's V of 0.1 or more).",
    ),
    "imbalance": Kind(
        "rare classes",
        "Accuracy hides errors on rare classes; look at balanced accuracy and the recall of each class.",
        "Fewer than 10 training images, or a tenth or less of the largest class.",
    ),
    "constant": Kind("constant images", "They show nothing.", "All pixels have one value."),
    "near_black": Kind("almost black images", "They show next to nothing.", "98 % of the pixels or more are black."),
    "clipped": Kind(
        "overexposed images",
        "Structures are lost where pixels have the largest value.",
        "A quarter of the pixels or more have the value 255, far more than in the other images of the set.",
    ),
    "upscaled": Kind(
        "enlarged images",
        "They hold fewer details than their size suggests, which can give a class or a source away.",
        "The file is smaller than dataset.size, its pixels have regular traces of interpolation (Gallagher 2005), or "
        "they have far less power in their highest frequencies than those of the other images.",
    ),
    "tiny": Kind("small images", "Most structures are lost below 24 pixels.", "The side of the images."),
}
