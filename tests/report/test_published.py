"""Published results are shown unchanged, next to the most similar method of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from run_folders import pretrained

from simclr_med.config.medmnist_info import load_medmnist_table
from simclr_med.report.cells import NONE
from simclr_med.report.collect import collect_runs
from simclr_med.report.published import ANCHORS, load_anchors, load_sources, match_published
from simclr_med.report.score_tables import select_scored_runs

Add = Callable[..., Path]


def test_every_published_result_is_loaded_once() -> None:
    found = load_anchors()
    original = pd.read_csv(ANCHORS / "original_simclr_medical.csv")
    mine = [one for one in found if one.source == "thesis"]
    figures = sorted(x for one in mine for x in (one.accuracy, one.auroc) if x == x)
    assert figures == sorted(original["value"])
    assert len([one for one in found if one.source == "MedMNIST v2"]) == 24
    assert {one.dataset for one in found} <= set(load_medmnist_table())
    assert {source.name for source in load_sources({one.source for one in found})} == {one.source for one in found}
    for one in found:
        assert (one.accuracy, one.auroc) != (None, None)
        assert all(x != x or 0 <= x <= 1 for x in (one.accuracy, one.auroc))


def test_published_pretraining_is_named_like_ours() -> None:
    origins = {one.origin for one in load_anchors() if one.dataset == "retinamnist" and one.source == "thesis"}
    assert origins == {"", "own novel", "pathmnist novel", "pathmnist then own novel"}


def test_match_by_protocol_and_budget(add: Add, runs: Path) -> None:
    for seed in (0, 1):
        add("probe", dataset="bloodmnist", budget="n100", seed=seed, init=pretrained("bloodmnist", "simple"))
        add("probe", dataset="bloodmnist", budget="n100", seed=seed)
    add("baseline", dataset="bloodmnist", budget="full")
    rows = select_scored_runs(collect_runs(runs).table)
    (table,), found = match_published(rows)
    shown = table.shown.set_index(["source", "published method", "labels"])
    assert shown.loc[("thesis", "probe, own simple", "n100"), "published accuracy"] == "0.749"
    assert shown.loc[("thesis", "probe, own simple", "n100"), "our method"] == "probe, own simple"
    low, high = sorted(rows[rows["kind"] == "probe"]["test/accuracy"])
    ours = shown.loc[("thesis", "probe, own simple", "n100"), "our accuracy"]
    assert ours == f"{low:.3f}, {high:.3f} (1 encoder x 2 seeds)"
    assert shown.loc[("thesis", "probe, own novel", "n100"), "our method"] == "no run"
    assert shown.loc[("thesis", "baseline", "full"), "our method"] == "baseline"
    assert (
        shown.loc[("MedMNIST v2", "supervised ResNet-18, 28 px (small stem)", "full"), "published accuracy"] == "0.958"
    )
    assert shown.loc[("thesis", "baseline", "n100"), "published AUROC"].endswith("(train mode)")
    assert {source.name for source in found} == {"thesis", "MedMNIST v2", "MedMNIST+"}


@pytest.mark.parametrize(("dataset", "size"), [("cells", 28), ("octmnist", 64)])
def test_no_table_without_published_results(add: Add, runs: Path, dataset: str, size: int) -> None:
    add("probe", dataset=dataset, change=lambda content: content["dataset"].update(size=size))
    assert match_published(select_scored_runs(collect_runs(runs).table)) == ([], [])


def test_runs_of_different_encoders_are_not_averaged(add: Add, runs: Path) -> None:
    for place, name in enumerate(("resnet18", "resnet18_small_stem", "tiny")):
        change = lambda content, name=name: content["encoder"].update(name=name)  # noqa: E731
        for seed in range(3):
            add("baseline", dataset="bloodmnist", budget="full", seed=seed, quality=2.0 * place, change=change)
        add("probe", dataset="bloodmnist", budget="n100", init=pretrained("bloodmnist"), change=change)
    add("finetune", dataset="bloodmnist", budget="n100", init=pretrained("bloodmnist"))
    rows = select_scored_runs(collect_runs(runs).table)
    (table,), _ = match_published(rows)
    numbers = table.numbers.set_index(["source", "what", "budget"])
    shown = table.shown.set_index(["source", "published method", "labels"])
    means = rows[rows["kind"] == "baseline"].groupby("encoder")["test/accuracy"].mean()
    for what, encoder in (("28 px (small stem)", "resnet18_small_stem"), ("224 px (28 px enlarged)", "resnet18")):
        key = ("MedMNIST v2", f"supervised ResNet-18, {what}", "full")
        assert (numbers.loc[key, "our encoder"], shown.loc[key, "our method"]) == (encoder, f"baseline, {encoder}")
        assert numbers.loc[key, "our accuracy"] == pytest.approx(means[encoder])
        assert shown.loc[key, "our accuracy"].endswith("3 seeds)")
    assert shown.loc[("thesis", "finetune, own novel", "n100"), "our method"] == "finetune, own novel, tiny"


@pytest.mark.parametrize("size", [64, 128, 224])
def test_larger_images_stand_beside_the_results_at_224_pixels(add: Add, runs: Path, size: int) -> None:
    add("probe", dataset="bloodmnist", budget="full", change=lambda content: content["dataset"].update(size=size))
    add("probe", dataset="bloodmnist", budget="full", seed=1)  # 28 px
    (table,), sources = match_published(select_scored_runs(collect_runs(runs).table))
    assert "MedMNIST+ 224" in {source.name for source in sources}
    large = table.shown[table.shown["source"] == "MedMNIST+ 224"]
    assert set(large["our size"]) == {f"{size} px"}
    assert "0.987" in set(large["published accuracy"])  # DINO ViT-B/16, linear probe
    assert set(table.shown[table.shown["source"] == "MedMNIST+"]["our size"]) == {"28 px"}


def test_scores_without_twins_stand_beside_published_ones(add: Add, runs: Path) -> None:
    add("probe", dataset="bloodmnist", budget="full", init=pretrained("bloodmnist"))
    rows = select_scored_runs(collect_runs(runs).table)
    kept = rows.assign(**{"test/auroc": 0.777, "intervals": [{"test/auroc": (0.7, 0.8)}]})
    (table,), _ = match_published(rows, kept)
    shown = table.shown.set_index("published method")["our AUROC without twins"]
    assert shown["ViT-B/16, DINO, linear probe"] == "0.777 [0.700, 0.800] (1 run)"
    assert shown["ViT-B/16, DINO, kNN"] == NONE
