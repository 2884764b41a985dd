"""Which methods of a data set are compared: of one encoder, and a pretrained model of timm with the data set's own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pandas as pd

from simclr_med.report.methods import CONTROL, find_main_method

Side = tuple[str, str]  # encoder and method

# The kind of method whose encoder or predictions another kind starts from.
_BUILDS_ON = {"finetune": "probe", "distill": "finetune"}


@dataclass(frozen=True)
class Foundation:
    """A pretrained model of timm, and the ways to use it on one data set.

    Attributes:
        model: its name.
        own: the encoder of the data set that it is compared with.
        frozen: the probe of the model as it is.
        continued: the probe after continued pretraining on the data set; None without runs.
        scratch: the probe of the own encoder, pretrained from random weights; None without runs.
    """

    model: str
    own: str
    frozen: Side
    continued: Side | None
    scratch: Side | None

    def list_pairs(self) -> list[tuple[Side, Side]]:
        """Return the pairs to compare: each two of the probes."""
        sides = [side for side in (self.continued, self.frozen, self.scratch) if side is not None]
        return list(itertools.combinations(sides, 2))


def find_pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the pairs of methods to compare, among the methods of one data set and encoder.

    The pairs answer five questions: what pretraining adds to the features (probe against untrained control), what it
    adds to supervised training (finetune, probe and distill against baseline), what finetuning adds to the probe, what
    distillation adds to finetuning, and how every other encoder compares with the data set's own. A method with
    selected images is compared with the one of the same kind and encoder whose images were drawn at random, and with
    no other.
    """
    selected = _find_selected(rows)
    if selected.any() and not selected.all():
        drawn = rows[~selected]
        pairs = find_pairs(drawn)
        for (kind, origin), group in rows[selected].groupby(["kind", "origin"]):
            other = find_main_method(drawn[drawn["origin"] == origin], str(kind))
            pairs += [] if other is None else [(str(method), other) for method in group["method"].unique()]
        return sorted(set(pairs))
    kinds = dict(zip(rows["method"], rows["kind"], strict=True))
    origins = dict(zip(rows["method"], rows["origin"], strict=True))
    control, baseline = find_main_method(rows, CONTROL), find_main_method(rows, "baseline")
    main_methods = {kind: find_main_method(rows, kind) for kind in ("probe", "finetune", "distill")}
    pairs = []
    for method, kind in kinds.items():
        if kind == "probe":
            pairs += [(method, other) for other in (control, baseline) if other is not None]
        if kind in _BUILDS_ON:
            pairs += [(method, baseline)] if baseline is not None else []
            before = _BUILDS_ON[kind]
            pairs += [
                (method, other) for other in kinds if kinds[other] == before and origins[other] == origins[method]
            ]
        main = main_methods.get(kind)
        if main is not None and main != method:
            pairs.append((method, main))
    return sorted(set(pairs))


def _find_selected(rows: pd.DataFrame) -> pd.Series:
    """Return which runs have images that were not drawn at random, bool."""
    return rows["selected_by"] != "" if "selected_by" in rows else pd.Series(False, index=rows.index)


def find_foundations(rows: pd.DataFrame) -> list[Foundation]:
    """Return the pretrained models of timm with a frozen probe, for each encoder of the data set's own.

    Args:
        rows: of `score_tables.select_scored_runs`, of one data set.
    """
    probes = rows[(rows["kind"] == "probe") & (rows["foundation"] != "")]
    found = []
    for own in list_own_encoders(rows):
        own_rows = rows[(rows["encoder"] == own) & (rows["foundation"] == "") & rows["origin"].str.startswith("own")]
        for encoder, group in probes.groupby("encoder"):
            frozen = find_main_method(group[group["source"] == ""], "probe")
            if frozen is None or (own_rows.empty and encoder != own):
                continue
            continued = find_main_method(group[group["source"] == group["dataset"]], "probe")
            scratch = find_main_method(own_rows, "probe")
            found.append(
                Foundation(
                    model=str(group["foundation"].iloc[0]),
                    own=own,
                    frozen=(str(encoder), frozen),
                    continued=None if continued is None else (str(encoder), continued),
                    scratch=None if scratch is None else (own, scratch),
                )
            )
    return found


def list_own_encoders(rows: pd.DataFrame) -> list[str]:
    """Return the encoders of a data set, without those that have only probes of a pretrained model of timm.

    Args:
        rows: as in `find_foundations`. If they have only such models, all of them are returned.
    """
    own = rows[(rows["foundation"] == "") | (rows["kind"] != "probe")]
    return sorted(set((own if len(own) else rows)["encoder"].astype(str)))


def join_foundations(rows: pd.DataFrame, own: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the runs of an encoder with those of the pretrained models that it is compared with.

    Args:
        rows: as in `find_foundations`.
        own: the encoder.

    Returns:
        the rows, and the methods of the pretrained models.
    """
    sides = [
        side
        for foundation in find_foundations(rows)
        if foundation.own == own
        for side in (foundation.frozen, foundation.continued)
        if side is not None
    ]
    added = [select_side(rows, side) for side in sides if side[0] != own]
    return pd.concat([rows[rows["encoder"] == own], *added]), [method for _, method in sides]


def select_side(rows: pd.DataFrame, side: Side) -> pd.DataFrame:
    """Return the runs of an encoder and method."""
    encoder, method = side
    return rows[(rows["encoder"] == encoder) & (rows["method"] == method)]
