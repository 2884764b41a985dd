"""The answers on the report's first screen: for each data set, in plain words, what the runs say."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from simclr_med.report.annotation_plan import Plan
from simclr_med.report.annotation_texts import describe_plan
from simclr_med.report.budgets import describe_budget
from simclr_med.report.chosen_model import ChosenModel, choose_model, describe_choice
from simclr_med.report.comparison_texts import suggest_size
from simclr_med.report.comparisons import INCONCLUSIVE, Comparison
from simclr_med.report.doubts import Doubt
from simclr_med.report.effect_texts import format_gain, summarise_effects
from simclr_med.report.foundation_texts import describe_foundation
from simclr_med.report.methods import find_main_method
from simclr_med.report.pairs import find_foundations, join_foundations, list_own_encoders
from simclr_med.report.savings import PAIRS, Saving, describe_saving

_USES = {"probe": "With the encoder frozen", "finetune": "With finetuning"}


@dataclass(frozen=True)
class Question:
    """One question with its answer.

    Attributes:
        text: the question.
        short: its answer on the first screen.
        details: sentences below it, which the reader can open.
        table: further numbers of the details; None for none.
    """

    text: str
    short: str
    details: list[str] = field(default_factory=list)
    table: pd.DataFrame | None = None


@dataclass(frozen=True)
class Answer:
    """The answers about one data set.

    Attributes:
        title: the data set, with the encoder where it has runs of several.
        questions: in the order of the page.
        model: the model to use; None where none can be chosen.
    """

    title: str
    questions: list[Question]
    model: ChosenModel | None = None


@dataclass(frozen=True)
class Findings:
    """What the answers are made of.

    Attributes:
        comparisons: of `comparisons.compare_methods`.
        savings, plans: of `savings.find_savings` and `annotation_plan.plan_annotation`.
        no_savings, no_plans: data set -> why there are none.
        doubts: data set -> its doubts.
    """

    comparisons: Sequence[Comparison]
    savings: Sequence[Saving]
    no_savings: Mapping[str, Sequence[str]]
    plans: Sequence[Plan]
    no_plans: Mapping[str, Sequence[str]]
    doubts: Mapping[str, Sequence[Doubt]]


def build_answers(rows: pd.DataFrame, findings: Findings) -> list[Answer]:
    """Return the answers about each data set and encoder.

    Args:
        rows: of `score_tables.select_scored_runs`.
        findings: about all of them.
    """
    answers = []
    for data, data_rows in rows.groupby("data"):
        encoders = list_own_encoders(data_rows)
        is_several = len(encoders) > 1
        for encoder in encoders:
            place, group = (str(data), encoder), data_rows[data_rows["encoder"] == encoder]
            model = choose_model(join_foundations(data_rows, encoder)[0])
            questions = [
                _answer_gain(group, [c for c in findings.comparisons if (c.data, c.encoder) == place]),
                *_answer_foundations(data_rows, encoder, findings.comparisons),
                _answer_savings(
                    [saving for saving in findings.savings if (saving.data, saving.encoder) == place],
                    {
                        (c.a, c.b, c.budget)
                        for c in findings.comparisons
                        if (c.data, c.encoder) == place and c.verdict == INCONCLUSIVE
                    },
                    findings.no_savings.get(place[0], []),
                ),
                *_answer_selection(group, [c for c in findings.comparisons if (c.data, c.encoder) == place]),
                _answer_model(model),
                _answer_plan(
                    [plan for plan in findings.plans if (plan.data, plan.encoder) == place],
                    model,
                    findings.no_plans.get(place[0], []),
                ),
                _list_doubts(findings.doubts.get(place[0], [])),
            ]
            answers.append(Answer(f"{data}, {encoder}" if is_several else str(data), questions, model))
    return answers


def _answer_gain(rows: pd.DataFrame, comparisons: Sequence[Comparison]) -> Question:
    """Answer whether pretraining helps, by how much and with which budgets."""
    text = "Does pretraining help?"
    effects: list[str] = []
    details: list[str] = []
    columns: dict[str, dict[str, str]] = {}
    for kind, other in PAIRS:
        pair = find_main_method(rows, kind), find_main_method(rows, other)
        found = [comparison for comparison in comparisons if (comparison.a, comparison.b) == pair]
        if not found:
            continue
        effects.append(summarise_effects(_USES[kind], found, is_first=not effects))
        name = f"“{pair[0]}” minus “{pair[1]}”"
        columns[name] = {describe_budget(comparison.budget): format_gain(comparison) for comparison in found}
        undecided = [comparison for comparison in found if comparison.verdict == INCONCLUSIVE]
        details += [f"{name}, {describe_budget(c.budget)}: {suggest_size(c)}" for c in undecided]
    if not effects:
        return Question(
            text,
            "Not answered: this needs runs with and without pretraining under one label budget. "
            "simclr-med stage=study makes both.",
        )
    budgets = list(dict.fromkeys(budget for cells in columns.values() for budget in cells))
    table = pd.DataFrame(
        [{"labels": budget} | {name: cells.get(budget, "") for name, cells in columns.items()} for budget in budgets]
    )
    details.insert(
        0,
        "Gains are in points (hundredths) of test AUROC, with their confidence intervals, which are adjusted for all "
        "comparisons of the data set. “With the encoder frozen”: a linear probe of the pretrained against one of the "
        "untrained encoder. “With finetuning”: training from the pretrained against training from random weights.",
    )
    return Question(text, " ".join(effects), details, table)


def _answer_selection(rows: pd.DataFrame, comparisons: Sequence[Comparison]) -> list[Question]:
    """Answer whether selected images are better to label than a random draw; no question without selected images."""
    effects: list[str] = []
    for (kind, method, name), _ in rows[rows["selected_by"] != ""].groupby(["kind", "selected_by", "method"]):
        found = [c for c in comparisons if c.a == name]
        if found:
            use = f"{str(method).capitalize()} against a random draw ({kind})"
            effects.append(summarise_effects(use, found, is_first=not effects))
    if not effects:
        return []
    note = (
        "Each seed gives another selection and another random draw. Gains are in points of test AUROC, as above. "
        "Selected images are not a random sample: their cross-validated scores do not hold for other images."
    )
    return [Question("Which images to label first?", " ".join(effects), [note])]


def _answer_foundations(rows: pd.DataFrame, encoder: str, comparisons: Sequence[Comparison]) -> list[Question]:
    """Return the question about pretrained models of timm; none without runs of any."""
    data = str(rows["data"].iloc[0])
    own = [comparison for comparison in comparisons if comparison.data == data]
    found = [describe_foundation(one, own) for one in find_foundations(rows) if one.own == encoder]
    if not found:
        return []
    details = [sentence for sentences in found for sentence in sentences[1:]]
    text = "Continue pretraining, start from scratch, or take a pretrained model frozen?"
    return [Question(text, " ".join(sentences[0] for sentences in found), details)]


def _answer_savings(
    savings: Sequence[Saving], undecided: Container[tuple[str, str, str]], reasons: Sequence[str]
) -> Question:
    """Answer how many labels pretraining saves; undecided comparisons are (method, reference, budget)."""
    text = "How many labels does it save?"
    by_method: dict[str, list[str]] = {}
    for saving in savings:
        by_method.setdefault(saving.method, []).append(
            describe_saving(saving, (saving.method, saving.reference, saving.budget) in undecided)
        )
    shown = " ".join(sentences[0] for sentences in by_method.values())
    details = [sentence for sentences in by_method.values() for sentence in sentences[1:]]
    if shown:
        return Question(text, shown, [*details, *reasons])
    if reasons:
        return Question(text, reasons[0], list(reasons[1:]))
    return Question(
        text,
        "This cannot be estimated: a curve over several label budgets is needed of a method with pretraining and of "
        "the same method without it.",
    )


def _answer_model(model: ChosenModel | None) -> Question:
    text = "Which model to use?"
    if model is None:
        return Question(text, "None can be chosen: no run recorded a validation AUROC.")
    short, *details = describe_choice(model)
    return Question(text, short, details)


def _answer_plan(plans: Sequence[Plan], model: ChosenModel | None, reasons: Sequence[str]) -> Question:
    """Answer what more labels would buy for the chosen model's method, or else for the first with a plan."""
    text = "What would more labels buy?"
    ordered = sorted(plans, key=lambda plan: model is None or plan.method != model.method)
    if ordered:
        short, *details = describe_plan(ordered[0])
        return Question(text, short, details)
    own = [reason for reason in reasons if model is not None and model.method in reason]
    return Question(text, (own or list(reasons) or ["No plan: there is no curve over several label budgets."])[0])


def _list_doubts(doubts: Sequence[Doubt]) -> Question:
    short = "; ".join(doubt.short for doubt in doubts)
    return Question("What to doubt?", f"{short[:1].upper()}{short[1:]}.", [doubt.sentence for doubt in doubts])
