"""The answers on the first screen: gain, labels saved, model, plan and doubts, of runs with a known truth."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_folders import drawn, pretrained

from simclr_med.metrics.label_savings import EqualLabels
from simclr_med.metrics.learning_curve import PowerLaw
from simclr_med.report.annotation_plan import Plan
from simclr_med.report.annotation_texts import describe_plan
from simclr_med.report.chosen_model import choose_model
from simclr_med.report.collect import collect_runs
from simclr_med.report.savings import Saving, describe_saving
from simclr_med.report.score_tables import select_scored_runs
from simclr_med.report.sections import Content, build_content

Add = Callable[..., Path]
QUALITIES = {"n50": 0.6, "n100": 0.9, "n250": 1.2, "n500": 1.5, "full": 2.2}  # of the control; n500 is left out


def validate(folder: Path, auroc: float) -> None:
    """Add a validation score to a run's record."""
    path = folder / "result.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metrics"]["val/auroc"] = auroc
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Four budgets of probe and control; the probe is as good as the control with several times the labels."""
    from run_folders import write

    runs = tmp_path_factory.mktemp("answers") / "runs"
    made = write(runs, "pretrain", augmentation="novel", budget="full")
    for budget in ("n50", "n100", "n250", "full"):
        for seed in range(4):
            quality = QUALITIES[budget]
            predictions = drawn(quality, seed, images=400, salt=len(budget))
            write(runs, "probe", budget=budget, seed=seed, predictions=predictions)
            better = drawn(quality + 0.6, seed, images=400, salt=len(budget))
            init = pretrained()
            folder = write(runs, "probe", budget=budget, seed=seed, init=init, made_by=made, predictions=better)
            validate(folder, 0.8 + seed / 100 if budget == "full" else 0.99)
    return build_content(collect_runs(runs))


def test_the_gain_has_its_interval_and_its_budgets(content: Content) -> None:
    (answer,) = content.answers
    gain = answer.questions[0]
    assert answer.title == "cells"
    assert gain.short.startswith("With the encoder frozen: helps with 50 labels (+")
    assert "points of AUROC, adjusted interval +" in gain.short
    assert gain.table is not None
    assert list(gain.table["labels"]) == ["50 labels", "100 labels", "250 labels", "all labels"]
    (table,) = [table for section in content.sections for table in section.tables if table.name == "comparisons"]
    first = table.numbers.iloc[0]
    points = f"{100 * first['auroc_difference']:+.1f} ({100 * first['low']:+.1f} to {100 * first['high']:+.1f})"
    assert gain.table.iloc[0, 1] == f"{points}: {first['verdict']}"


def test_labels_saved_agree_with_the_table(content: Content) -> None:
    text = content.answers[0].questions[1].short
    (table,) = [table for section in content.sections for table in section.tables if table.name == "labels_saved"]
    first = table.numbers.iloc[0]
    assert text.startswith("50 labels with pretraining (“probe, own novel”) are worth about ")
    assert first["low"] > 50
    saved, low, high = map(int, re.findall(r"about (\d+) labels are saved \((\d+) to (\d+)\)\.$", text)[0])
    assert [saved + 50, low + 50, high + 50] == pytest.approx(
        [first[key] for key in ("equal_labels", "low", "high")], rel=0.05
    )
    worth = re.findall(r"worth about (\d+) .* interval (\d+) to (\d+)\)", text)[0]
    assert list(map(int, worth)) == [saved + 50, low + 50, high + 50], "the sentence adds up"
    assert first["low"] < 250 < first["high"]  # the quality of the control with 250 labels
    assert first["equal_labels"] == pytest.approx(250, rel=0.3)
    assert len(table.numbers) == 3  # not of all labels


def test_the_model_is_chosen_by_validation_among_runs_on_all_labels(content: Content) -> None:
    model = content.answers[0].model
    assert model is not None
    assert (model.method, model.budget, model.seed) == ("probe, own novel", "full", 3)
    assert model.validation == pytest.approx(0.83)
    assert str(model.folder) in content.answers[0].questions[2].short


def test_the_plan_names_its_check(content: Content) -> None:
    text = content.answers[0].questions[3].short
    assert "“probe, own novel”: 1,000 more labels (twice as many) buy +" in text
    (check,) = content.answers[0].questions[3].details
    assert check.startswith("Check: without the largest budget, the curve predicts 0.")


def test_doubts_name_the_single_encoder_and_the_missing_audit(content: Content) -> None:
    short = content.answers[0].questions[4].short
    assert "nobody has looked for twins" in short.lower()
    assert "one pretrained encoder" in short
    assert "few label seeds (4)" in short


def test_runs_without_validation_scores_give_no_model(add: Add, runs: Path) -> None:
    add("probe")
    found = build_content(collect_runs(runs)).answers[0]
    assert found.model is None
    assert "no run recorded a validation AUROC" in found.questions[2].short
    assert "Not answered: this needs runs with and without" in found.questions[0].short
    assert "cannot be estimated" in found.questions[1].short


def test_a_test_score_never_chooses(add: Add, runs: Path) -> None:
    validate(add("probe", seed=0, quality=3.0), 0.7)
    validate(add("probe", seed=1, quality=0.1), 0.8)
    chosen = choose_model(select_scored_runs(collect_runs(runs).table))
    assert chosen is not None
    assert chosen.seed == 1
    assert chosen.test < 0.7


def test_small_budgets_and_methods_with_a_lucky_run_are_not_chosen(add: Add, runs: Path) -> None:
    validate(add("probe", budget="n50", seed=0), 0.99)
    for seed, (probe, baseline) in enumerate([(0.80, 0.95), (0.82, 0.5)]):
        validate(add("probe", budget="full", seed=seed), probe)
        validate(add("baseline", budget="full", seed=seed), baseline)
    chosen = choose_model(select_scored_runs(collect_runs(runs).table))
    assert chosen is not None
    assert (chosen.method, chosen.budget, chosen.seed) == ("untrained control", "full", 1)
    assert [round(mean, 3) for _, mean in chosen.means] == [0.81, 0.725]


def test_the_reason_is_named_where_curves_are_too_short(add: Add, runs: Path) -> None:
    made = add("pretrain", augmentation="novel", budget="full")
    for seed in range(3):
        add("probe", seed=seed)
        add("probe", seed=seed, init=pretrained(), made_by=made)
    found = build_content(collect_runs(runs)).answers[0]
    assert "cannot be estimated: “untrained control” has 1 label budget" in found.questions[1].short
    assert "4 label budgets or more are needed, and it has 1" in found.questions[3].short


def test_labels_saved_without_a_decided_gain_say_so() -> None:
    """The interval of the labels is not adjusted for all comparisons, so that it may exclude a gain of zero."""
    saving = Saving(
        "cells", "tiny", "probe, own novel", "untrained control", "n50", 50, 50, 1000, EqualLabels(111, 66, 240)
    )
    decided, undecided = (describe_saving(saving, is_undecided) for is_undecided in (False, True))
    assert decided.endswith(
        "worth about 110 without it (“untrained control”; 95 % interval 66 to 240): about 60 labels are saved "
        "(16 to 190)."
    )
    assert undecided.removeprefix(decided).startswith(" The gain itself is not decided")


def test_a_method_above_the_whole_curve_has_no_number() -> None:
    saving = Saving("cells", "tiny", "probe", "control", "n50", 50, 50, 1000, EqualLabels(np.inf, 1000, np.inf))
    assert describe_saving(saving, is_undecided=False) == (
        "50 labels with pretraining (“probe”) score higher than all 1,000 without it (“control”), with 95 % confidence."
    )
    wide = replace(saving, equal=EqualLabels(np.inf, 600, np.inf))
    assert "(“control”; 95 % interval 600 to more than 1,000)." in describe_saving(wide, is_undecided=False)


def plan(law: PowerLaw, draws: list[PowerLaw], held_out: tuple[float, float, float]) -> str:
    labels = np.array([50.0, 100, 250, 1000])
    means = np.array([law.predict(count) for count in labels])
    return describe_plan(Plan("cells", "tiny", "probe", labels, means, law, draws, held_out))[0]


def test_a_plan_that_fails_its_check_begins_with_a_warning() -> None:
    law = PowerLaw(0.95, 0.2, 0.5, 100)
    now = law.predict(1000)
    assert plan(law, [law], (now, now - 0.01, now + 0.01)).startswith(
        "“probe”: 1,000 more labels (twice as many) buy +"
    )
    assert plan(law, [law], (now - 0.03, now - 0.04, now - 0.02)).startswith("Do not rely on this plan")


def test_no_plan_needs_fewer_labels_than_it_has() -> None:
    """Where the score is uncertain, a law of the interval reaches the next score with fewer labels."""
    flat, steep, high = PowerLaw(0.899, 0.02, 0.5, 100), PowerLaw(0.93, 0.18, 0.5, 100), PowerLaw(0.94, 0.02, 0.5, 100)
    held_out = (0.89, 0.88, 0.9)
    assert "0.90 needs more than 10,000 labels (the interval begins at fewer than 1,000)." in plan(
        flat, [flat, high], held_out
    )
    assert re.search(
        r"0\.90 needs about [\d,]+ labels \(fewer than 1,000 to more than 10,000\)", plan(steep, [flat, high], held_out)
    )
    assert plan(flat, [flat], held_out).endswith("0.90 needs more than 10,000 labels.")
