"""Pretrained models of timm in the report: the frozen probe and continued pretraining beside the own encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import drawn, pretrained, write

from simclr_med.report.collect import collect_runs
from simclr_med.report.comparisons import EQUAL, INCONCLUSIVE, NO_VERDICT
from simclr_med.report.foundation_texts import CONTINUED, FROZEN, SCRATCH, choose_use
from simclr_med.report.pairs import find_foundations, list_own_encoders
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import Content, build_content

MODEL = "resnet50.a1_in1k"
QUALITIES = {"n50": (1.2, 0.5, 1.0), "full": (1.0, 1.2, 2.0)}  # of frozen, scratch and continued


def use_timm(content: dict) -> None:
    content["encoder"] |= {"name": "timm", "model": MODEL, "input_size": 224}


def write_runs(runs: Path, with_continued: bool = True) -> None:
    made = [write(runs, "pretrain", augmentation="novel", budget="full", seed=seed) for seed in range(3)]
    weights = {"name": "timm", "model": MODEL}
    further = [
        write(runs, "pretrain", augmentation="novel", budget="full", seed=seed, init=weights, change=use_timm)
        for seed in range(3 if with_continued else 0)
    ]
    for budget, (frozen, scratch, continued) in QUALITIES.items():
        for seed in range(4):

            def scores(quality: float, encoder: int, seed: int = seed):
                return {"seed": seed, "predictions": drawn(quality, 10 * encoder + seed, images=600)}

            write(runs, "probe", budget=budget, **scores(0.2, 0))
            write(runs, "probe", budget=budget, init=weights, change=use_timm, **scores(frozen, 1))
            for number, folder in enumerate(made):
                init = pretrained(seed=number)
                write(runs, "probe", budget=budget, init=init, made_by=folder, **scores(scratch, 2 + number))
            for number, folder in enumerate(further):
                init = pretrained(seed=number, start="timm", model=MODEL)
                own = scores(continued, 5 + number)
                write(runs, "probe", budget=budget, init=init, made_by=folder, change=use_timm, **own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("foundations") / "runs"
    write_runs(runs)
    return runs


@pytest.fixture(scope="module")
def content(folder: Path) -> Content:
    return build_content(collect_runs(folder))


def test_the_methods_are_named_after_the_model(folder: Path) -> None:
    rows = select_scored_runs(collect_runs(folder).table)
    (found,) = find_foundations(rows)
    assert (found.model, found.own) == (MODEL, "tiny")
    assert found.frozen == (f"timm {MODEL}", f"probe, {MODEL}")
    assert found.continued == (f"timm {MODEL}", f"probe, {MODEL} then own novel")
    assert found.scratch == ("tiny", "probe, own novel")
    assert list_own_encoders(rows) == ["tiny"]


def test_one_sentence_answers_for_each_budget(content: Content) -> None:
    (answer,) = content.answers
    assert answer.title == "cells"
    (question,) = [one for one in answer.questions if "or take a pretrained model frozen?" in one.text]
    few, many = question.short.removesuffix(".").removeprefix(f"{MODEL}: ").split("; ")
    assert few == f"{FROZEN} with 50 labels"
    assert many == f"{CONTINUED} with all labels"
    assert len(question.details) == 6  # three pairs under two budgets
    assert all("adjusted confidence interval" in sentence for sentence in question.details)


def test_the_tests_across_encoders_are_of_the_data_sets_family(content: Content) -> None:
    (table,) = [table for section in content.sections for table in section.tables if table.name == "comparisons"]
    crossed = table.numbers[table.numbers["encoder"] == f"timm {MODEL} against tiny"]
    assert sorted(set(crossed["a"])) == [f"probe, {MODEL}", f"probe, {MODEL} then own novel"]
    assert set(crossed["b"]) == {"probe, own novel"}
    assert crossed["p_holm"].notna().all()
    columns = (table.numbers[name] for name in ("a", "b", "budget"))
    pairs = [frozenset(place) for place in zip(*columns, strict=True)]
    assert len(set(pairs)) == len(pairs)


def test_the_figure_shows_the_models_beside_the_own_methods(content: Content) -> None:
    (section,) = [section for section in content.sections if section.key == "efficiency"]
    (chart,) = section.charts
    drawn_methods = [text.get_text() for text in chart.figure.legends[0].get_texts()]
    assert [name for name in drawn_methods if name != "chance"] == [
        "untrained control",
        "probe, own novel",
        f"probe, {MODEL}",
        f"probe, {MODEL} then own novel",
    ]


def test_without_continued_pretraining_the_answer_says_so(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", with_continued=False)
    (answer,) = build_content(collect_runs(tmp_path / "runs")).answers
    (question,) = [one for one in answer.questions if "frozen" in one.text]
    assert question.short.startswith(f"{MODEL}: {FROZEN} with 50 labels; ")
    assert question.short.endswith(" (continued pretraining was not tried).")


def test_reports_without_such_models_have_no_such_question(tmp_path: Path) -> None:
    write(tmp_path / "runs", "probe")
    (answer,) = build_content(collect_runs(tmp_path / "runs")).answers
    assert not [one for one in answer.questions if "frozen" in one.text]


@pytest.mark.parametrize(
    ("frozen_scratch", "continued_frozen", "continued_scratch", "expected"),
    [
        ("better", "worse", "better", FROZEN),
        ("worse", "better", "worse", SCRATCH),
        ("better", "better", "better", CONTINUED),
        (EQUAL, EQUAL, EQUAL, f"{FROZEN} (nothing is better, and it costs less)"),
        ("better", EQUAL, "better", f"{FROZEN} (nothing is better, and it costs less)"),
        ("worse", "better", EQUAL, f"{SCRATCH} (nothing is better, and it costs less)"),
        ("better", INCONCLUSIVE, "better", f"not decided between “{FROZEN}” and “{CONTINUED}”"),
        (NO_VERDICT, NO_VERDICT, NO_VERDICT, "no verdict"),
    ],
)
def test_the_answer_follows_from_the_verdicts(
    frozen_scratch: str, continued_frozen: str, continued_scratch: str, expected: str
) -> None:
    verdicts = {
        (FROZEN, SCRATCH): frozen_scratch,
        (CONTINUED, FROZEN): continued_frozen,
        (CONTINUED, SCRATCH): continued_scratch,
    }
    assert choose_use(verdicts) == expected
