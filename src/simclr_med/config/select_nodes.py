"""Types and bounds of stage=select."""

from __future__ import annotations

from dataclasses import field

from omegaconf import MISSING

from simclr_med.config.bounds import bounded, one_of
from simclr_med.config.nodes import Part, node
from simclr_med.config.stage_kinds import Stage


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
class Select(Stage):
    method: str = one_of("typiclust", "coverage", "random")
    methods: Methods = field(default_factory=Methods)
    rounds: list[int] = MISSING
    pictures: int = bounded(1, 200)
