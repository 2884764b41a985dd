"""The page is self-contained, loads nothing, and escapes users' names."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_folders import forget_hashes

from simclr_med.report.collect import collect_runs
from simclr_med.report.html import _is_numeric
from simclr_med.report.score_tables import NONE
from simclr_med.report.write import write_report

Add = Callable[..., Path]
VOID = {"meta", "img", "input", "link", "br", "hr"}


class ParsedPage(HTMLParser):
    """Elements and attributes of a page; fails if an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def page(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(collect_runs(study), tmp_path_factory.mktemp("report"))[0]


def test_page_loads_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = ParsedPage(text)
    assert all(value.startswith("data:image/png;base64,") for value in parsed.values("src"))
    assert not set(parsed.count) & {"link", "iframe", "object", "embed", "base", "audio", "video"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(|https?://", text)
    assert all(value.startswith(("#", "tables/", "figures/")) for value in parsed.values("href"))
    assert "default-src 'none'" in text


def test_links_point_to_existing_files(page: Path) -> None:
    parsed = ParsedPage(page.read_text(encoding="utf-8"))
    ids = set(parsed.values("id"))
    for link in parsed.values("href"):
        assert link[1:] in ids if link.startswith("#") else (page.parent / link).is_file(), link
    assert len(parsed.values("id")) == len(ids)


def test_every_figure_is_embedded_with_alternative_text(page: Path) -> None:
    parsed = ParsedPage(page.read_text(encoding="utf-8"))
    files = sorted((page.parent / "figures").glob("*.png"))
    inside = {base64.b64decode(value.partition(",")[2]) for value in parsed.values("src")}
    assert inside == {path.read_bytes() for path in files}
    assert all(path.with_suffix(".pdf").read_bytes().startswith(b"%PDF") for path in files)
    assert len(parsed.values("alt")) == parsed.count["img"] == len(files)
    assert all(parsed.values("alt"))


def test_tables_have_sort_buttons_and_keyboard_focus(page: Path) -> None:
    parsed = ParsedPage(page.read_text(encoding="utf-8"))
    tables = len(list((page.parent / "tables").glob("*.csv")))
    plain = parsed.values("class").count("plain")  # of the answers; they are short and are not sorted
    assert parsed.count["table"] == parsed.count["caption"] == tables + plain
    assert tables > 8
    assert plain == 2
    assert parsed.count["th"] - parsed.count["button"] == 6  # of each: labels, gain of the probe and of finetune
    assert parsed.values("tabindex") == ["0"] * (tables + plain + parsed.count["img"])
    assert parsed.values("for") == ["filter"]


def test_users_names_are_escaped(add: Add, runs: Path, tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"

    def rename(content: dict) -> None:
        content["dataset"]["name"] = evil
        content["encoder"]["name"] = "<img src=x onerror=alert(1)>"

    plain = add("probe", dataset="plain")
    (plain / "config.yaml").write_text("<b>")
    for seed in (0, 1):
        add("probe", dataset="named", seed=seed, change=rename, classes=("<i>", '"', "&amp;"))
        add("probe", dataset="named", seed=seed, change=rename, init={"name": "imagenet"})
    target, content = write_report(collect_runs(runs), tmp_path / "report")
    parts = content.sections
    text = target.read_text(encoding="utf-8")
    parsed = ParsedPage(text)
    assert parsed.count["script"] == 1
    assert not parsed.count["i"]
    assert not parsed.count["b"]
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(" in text
    assert "&amp;amp;" in text
    written = [path for path in (tmp_path / "report").rglob("*") if path.is_file()]
    assert {path.parent.name for path in written} == {"report", "tables", "figures"}
    assert [part.key for part in parts if part.key == "gaps"]


def test_page_says_that_the_synthetic_images_are_drawn(add: Add, runs: Path, tmp_path: Path) -> None:
    add("pretrain", dataset="cells", budget="full")
    assert "is drawn to show" not in write_report(collect_runs(runs), tmp_path / "a")[0].read_text(encoding="utf-8")
    add("pretrain", dataset="synthetic", budget="full")
    page = write_report(collect_runs(runs), tmp_path / "b")[0].read_text(encoding="utf-8")
    assert "synthetic is drawn to show what pretraining can do" in page


def test_next_report_deletes_old_files(add: Add, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    add("probe", budget="per_class10")
    write_report(collect_runs(runs), folder)
    (folder / "tables" / "mine.txt").write_text("kept")
    before = {path.name for path in (folder / "tables").iterdir()}
    assert "class_balance_auroc.csv" in before
    add("baseline", dataset="other")
    write_report(collect_runs(runs, ["other"]), folder)
    after = {path.name for path in (folder / "tables").iterdir()}
    assert "class_balance_auroc.csv" not in after
    assert "mine.txt" in after


def test_multi_label_and_binary_data_sets(add: Add, runs: Path, tmp_path: Path) -> None:
    import numpy as np

    generator = np.random.default_rng(0)
    many = generator.integers(0, 2, (60, 3)), generator.random((60, 3)).astype(np.float32)
    odds = generator.random((60, 1)).astype(np.float32)
    two = generator.integers(0, 2, (60, 1)), np.hstack([1 - odds, odds])
    for init in ({"name": "random"}, {"name": "imagenet"}):
        add("probe", dataset="chest", predictions=many, init=init)
        add("probe", dataset="lungs", predictions=two, init=init, classes=("no", "yes"))
    target, content = write_report(collect_runs(runs), tmp_path / "report")
    parts = content.sections
    names = {chart.name for part in parts for chart in part.charts}
    assert {"confusion_lungs_tiny", "reliability_chest_tiny"} <= names
    assert "confusion_chest_tiny" not in names
    assert "chest" in target.read_text(encoding="utf-8")


@pytest.mark.parametrize("stage", ["pretrain", "test", "predict", "probe"])
@pytest.mark.parametrize("state", ["finished", "failed", "unfinished"])
def test_report_of_runs_of_one_kind(add: Add, runs: Path, tmp_path: Path, stage: str, state: str) -> None:
    add(stage, state=state, change=lambda content: content["stage"].update(run="runs/probe/cells/a"))
    target, content = write_report(collect_runs(runs), tmp_path / "report")
    parts = content.sections
    ParsedPage(target.read_text(encoding="utf-8"))
    assert (state == "finished") == ("cost" in {part.key for part in parts})
    assert (state != "finished") == any(table.name == "unfinished" for part in parts for table in part.tables)


def test_mixed_protocols_are_marked(add: Add, runs: Path, tmp_path: Path) -> None:
    add("probe", seed=0)
    add("probe", seed=1, protocol_version=2)
    target, _ = write_report(collect_runs(runs, mixed=True), tmp_path / "report")
    text = target.read_text(encoding="utf-8")
    assert "mixes runs of protocol versions 1, 2" in text
    assert "untrained control (protocol_version=2)" in text


def test_runs_without_recorded_hashes_are_marked_once(add: Add, runs: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        forget_hashes(add("probe", seed=seed))
    add("probe", seed=2)
    target, _ = write_report(collect_runs(runs), tmp_path / "report")
    assert target.read_text(encoding="utf-8").count("2 runs have no recorded hash of the predictions") == 1


def test_similar_data_set_names_have_their_own_figures(add: Add, runs: Path, tmp_path: Path) -> None:
    for place, name in enumerate(("a/b", "a-b", "a b")):
        for seed in (0, 1):
            change = lambda content, name=name: content["dataset"].update(name=name)  # noqa: E731
            add("probe", dataset=f"set{place}", seed=seed, quality=place, change=change)
    target, content = write_report(collect_runs(runs), tmp_path / "report")
    parts = content.sections
    parsed = ParsedPage(target.read_text(encoding="utf-8"))
    assert len(set(parsed.values("src"))) == parsed.count["img"] == 12
    links = [link for link in parsed.values("href") if link.endswith((".pdf", ".csv"))]
    assert len(set(links)) == len(links) == 12 + sum(len(part.tables) for part in parts)
    assert all((target.parent / link).is_file() for link in links)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.812 [0.790, 0.832] (3 encoders x 5 seeds)", True),
        ("0.846, 0.850 (2 seeds)", True),
        ("0.841 to 0.850 (5 encoders x 2 seeds)", True),
        ("< 0.0001", True),
        ("+0.4 to +2.2", True),
        ("-1.3", True),
        ("1e-09", True),
        ("0.64 (train mode)", True),
        (NONE, True),
        ("1,234", True),
        ("50% of it", False),
        ("28 px", False),
        ("-", False),
        ("3rd set", False),
        ("+", False),
        ("", False),
    ],
)
def test_names_that_start_with_a_digit_are_not_numbers(text: str, number: bool) -> None:
    assert _is_numeric(text) == number
