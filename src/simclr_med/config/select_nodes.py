"""Types and bounds of stage=select."""

from __future__ import annotations

from dataclasses import field
from typing import Optional

from omegaconf import MISSING

from simclr_med.config.bounds import LARGEST_INTEGER, bounded, one_of
from simclr_med.config.nodes import Part, node
from simclr_med.config.stage_kinds import Stage
from simclr_med.config.stage_nodes import Logistic

# OmegaConf reads these annotations at run time and knows no `int | None` on Python 3.10.
# ruff: noqa: UP045

LEARNING = ("margin", "disagreement")  # methods that learn from the images labelled already


@node
class TypiClust(Part):
    _target_: str = MISSING
    neighbours: int = bounded(1, 1000)
    most_clusters: int = bounded(2, 10_000)


@node
class Coverage(Part):
    _target_: str = MISSING
    clusters: int = bounded(2, 10_000)
    purity: float = bounded(open_low=0, high=1)
    most_images: int = bounded(100, 50_000)


@node
class RandomOrder(Part):
    _target_: str = MISSING


@node
class Methods(Part):
    typiclust: TypiClust = field(default_factory=TypiClust)
    coverage: Coverage = field(default_factory=Coverage)
    random: RandomOrder = field(default_factory=RandomOrder)

    def chosen(self, method: str) -> Part:
        """The node of a method."""
        nodes: dict[str, Part] = {"typiclust": self.typiclust, "coverage": self.coverage, "random": self.random}
        return nodes[method]


@node
class Margin(Part):
    _target_: str = MISSING


@node
class Disagreement(Part):
    _target_: str = MISSING
    members: int = bounded(2, 1000)


@node
class MethodsWithLabels(Part):
    """The methods that learn from the images labelled already.

    Attributes:
        probe: the classifier that they fit.
        labels_hash: digest of the labels in data_fraction.file; None where the data set has the labels.
    """

    margin: Margin = field(default_factory=Margin)
    disagreement: Disagreement = field(default_factory=Disagreement)
    probe: Logistic = field(default_factory=Logistic)
    labels_hash: Optional[str] = MISSING

    def chosen(self, method: str) -> Part:
        """The node of a method."""
        nodes: dict[str, Part] = {"margin": self.margin, "disagreement": self.disagreement}
        return nodes[method]


@node
class Select(Stage):
    method: str = one_of("typiclust", "coverage", "random", *LEARNING)
    methods: Methods = field(default_factory=Methods)
    methods_with_labels: MethodsWithLabels = field(default_factory=MethodsWithLabels)
    rounds: list[int] = bounded(high=LARGEST_INTEGER)  # the smallest is a matter of `selection_keys`
    pictures: int = bounded(1, 200)

    @property
    def continues(self) -> bool:
        """Whether the method continues the selection of labelled images that data_fraction.file names."""
        return self.method in LEARNING

    def reason_unread(self, key: str) -> Optional[str]:
        return None if key == "data_fraction" and self.continues else super().reason_unread(key)
