"""Runs on selected images are a method of their own, which is compared with a random draw and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import pretrained

from simclr_med.report.chosen_model import choose_model
from simclr_med.report.collect import collect_runs
from simclr_med.report.comparisons import find_pairs
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import Content, build_content

Add = Callable[..., Path]
PROBE, CHOSEN = "probe, own novel", "probe, own novel (selected by typiclust)"


def selected(method: str, seed: int) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["data_fraction"] |= {"file": f"/s{seed}.csv", "selected_by": method, "selection_hash": f"sha256:{seed}"}

    return change


def drawn(content: dict[str, Any]) -> None:
    content["data_fraction"]["strategy"] = "random"


@pytest.fixture
def runs_of_both(add: Add, runs: Path) -> Path:
    """Probes of 3 seeds drawn at random and 4 selected ones, which score higher; a control and a baseline."""
    for seed in range(4):
        add("probe", init=pretrained(), seed=seed, quality=4.0, change=selected("typiclust", seed))
    for seed in range(3):
        add("probe", init=pretrained(), seed=seed, quality=0.5, change=drawn)
        add("probe", seed=seed, quality=0.3, change=drawn)
        add("baseline", seed=seed, quality=0.3)
    return runs


def test_selected_runs_are_one_method(runs_of_both: Path) -> None:
    table = collect_runs(runs_of_both).table
    assert set(table["method"]) == {PROBE, CHOSEN, "untrained control", "baseline"}
    assert (table["method"] == CHOSEN).sum() == 4


def test_they_are_compared_with_the_random_draw_alone(runs_of_both: Path) -> None:
    pairs = find_pairs(select_scored_runs(collect_runs(runs_of_both).table))
    assert [pair for pair in pairs if CHOSEN in pair] == [(CHOSEN, PROBE)]
    assert (PROBE, "untrained control") in pairs
    assert (PROBE, "baseline") in pairs


def test_without_random_draws_they_have_the_usual_pairs(add: Add, runs: Path) -> None:
    add("probe", init=pretrained(), change=selected("typiclust", 0))
    add("probe", change=selected("typiclust", 0))
    pairs = find_pairs(select_scored_runs(collect_runs(runs).table))
    assert pairs == [(CHOSEN, "untrained control (selected by typiclust)")]


def read_answer(content: Content, text: str) -> str:
    return next(question.short for question in content.answers[0].questions if question.text == text)


def test_the_report_answers_which_images_to_label(runs_of_both: Path) -> None:
    content = build_content(collect_runs(runs_of_both))
    short = read_answer(content, "Which images to label first?")
    assert short.startswith("Typiclust against a random draw (probe): helps with 50 labels (+")
    assert "helps" not in read_answer(content, "Does pretraining help?"), "it is about the random draw"
    sentences = next(section for section in content.sections if section.key == "comparisons").sentences
    assert f"cells, “{CHOSEN}” against “{PROBE}”: better with n50." in sentences
    chart = next(section for section in content.sections if section.key == "efficiency").charts[0]
    assert CHOSEN in {text.get_text() for text in chart.figure.legends[0].get_texts()}


def test_without_selected_runs_there_is_no_such_question(add: Add, runs: Path) -> None:
    for seed in range(3):
        add("probe", init=pretrained(), seed=seed)
    texts = [question.text for question in build_content(collect_runs(runs)).answers[0].questions]
    assert "Which images to label first?" not in texts


def test_the_model_to_use_is_not_chosen_inside_selected_images(runs_of_both: Path) -> None:
    rows = select_scored_runs(collect_runs(runs_of_both).table)
    rows["val/auroc"] = [0.99 if method == CHOSEN else 0.6 for method in rows["method"]]
    chosen = choose_model(rows)
    assert chosen is not None
    assert chosen.method != CHOSEN
