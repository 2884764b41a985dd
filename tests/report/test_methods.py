"""Runs that differ only in their seed share a method name; all other runs have different names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig
from run_folders import pretrained

from simclr_med.report.collect import collect_runs
from simclr_med.report.methods import MAIN_AUGMENTATION, find_main_method, sort_budgets

Add = Callable[..., Path]


def method(runs: Path, folder: Path) -> str:
    table = collect_runs(runs).table
    return str(table[table["folder"] == folder]["method"].item())


def test_names_describe_the_kind_and_the_pretraining(add: Add, runs: Path) -> None:
    made = add("pretrain", dataset="skin", augmentation="simple", budget="full")
    further = add("pretrain", init=pretrained("skin", "simple"), made_by=made, augmentation="novel", budget="full")
    expected = {
        add("probe"): "untrained control",
        add("baseline"): "baseline",
        add("finetune"): "finetune, random weights",
        add("probe", init=pretrained()): "probe, own novel",
        add("probe", init=pretrained(run=str(made)), made_by=made): "probe, skin simple",
        add("probe", init=pretrained(run=str(further)), made_by=further): "probe, skin then own novel",
        add("finetune", init={"name": "imagenet"}): "finetune, ImageNet",
        add("finetune", init={"name": "checkpoint", "path": "a/b.ckpt"}): "finetune, checkpoint b.ckpt",
    }
    assert {folder: method(runs, folder) for folder in expected} == expected


def test_seeds_share_a_name_and_other_settings_do_not(add: Add, runs: Path) -> None:
    def longer(content: dict) -> None:
        content["stage"]["epochs"] = 7

    def elsewhere(content: dict) -> None:
        content["paths"]["runs"] = "/elsewhere"
        content["stage"]["checkpoint_every_s"] = 1.0

    first = add("baseline")
    assert method(runs, first) == "baseline"
    second, moved = add("baseline", seed=1), add("baseline", seed=2, change=elsewhere)
    assert method(runs, first) == method(runs, second) == method(runs, moved) == "baseline"
    other = add("baseline", seed=3, change=longer)
    assert method(runs, other) == "baseline (stage.epochs=7)"
    assert method(runs, first) == "baseline (stage.epochs=100)"


def test_settings_of_the_pretraining_are_part_of_the_name(add: Add, runs: Path) -> None:
    def longer(content: dict) -> None:
        content["stage"]["epochs"] = 7

    short = add("pretrain", change=longer, budget="full")
    long = add("pretrain", budget="full")
    probes = [add("probe", init=pretrained(run=str(made)), made_by=made, seed=0) for made in (short, long)]
    assert [method(runs, probe) for probe in probes] == [
        f"probe, own microscopy (pretraining stage.epochs={epochs})" for epochs in (7, 200)
    ]


def test_budgets_are_sorted_by_size() -> None:
    budgets = ["full", "pct10", "n1000", "n50", "per_class100", "per_class25", "pct1"]
    assert sort_budgets(budgets) == ["per_class25", "per_class100", "n50", "n1000", "pct1", "pct10", "full"]


def test_main_method_has_the_data_sets_own_encoder_and_most_runs() -> None:
    rows = pd.DataFrame(
        [("probe", "probe, skin novel", "skin novel")] * 5
        + [("probe", "probe, own simple", "own simple")] * 3
        + [("probe", "probe, own novel", "own novel")] * 2,
        columns=["kind", "method", "origin"],
    )
    assert find_main_method(rows, "probe") == "probe, own simple"
    assert find_main_method(rows.drop(index=range(5, 10)), "probe") == "probe, skin novel"
    assert find_main_method(rows, "baseline") is None


def test_main_method_of_equally_many_runs_has_the_default_augmentation(composed: Callable[..., DictConfig]) -> None:
    assert composed("stage=pretrain").augmentation.name == MAIN_AUGMENTATION
    assert composed("stage=probe").init.augmentation == MAIN_AUGMENTATION
    names = ["novel", "microscopy", "simple"]
    rows = pd.DataFrame([("probe", f"probe, own {name}", f"own {name}") for name in names for _ in range(2)])
    rows.columns = ["kind", "method", "origin"]
    assert find_main_method(rows, "probe") == "probe, own microscopy"
    others = rows[~rows["method"].str.contains("microscopy")]
    assert find_main_method(others, "probe") == "probe, own novel", "the shorter name"
