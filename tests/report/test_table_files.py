"""Tables as files: unrounded in CSV, and escaped in Markdown and LaTeX."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest

from simclr_med.report.score_tables import NONE, Table
from simclr_med.report.table_files import MAX_BYTES, assign_file_names, to_file_name, to_latex, to_markdown, write_table

EVIL = r"a|b_c & 50 % $x$ #1 {y} \z ~ ^ <script> `*[l](u)"


@pytest.fixture
def table() -> Table:
    numbers = pd.DataFrame({"data": [EVIL, "b"], "mean": [1 / 3, float("nan")]})
    shown = pd.DataFrame({"data set": [EVIL, "b"], "n_50": ["0.333 ± 0.100 (3)", NONE]})
    return Table("recall_<x>/..", "Title_1", "Note.", numbers, shown)


def test_csv_keeps_every_digit(table: Table, tmp_path: Path) -> None:
    paths = write_table(table, tmp_path)
    assert [path.name for path in paths] == [f"recall_-x{end}" for end in (".csv", ".md", ".tex")]
    again = pd.read_csv(paths[0])
    pd.testing.assert_frame_equal(again, table.numbers, check_exact=True)


def test_markdown_escapes_cell_separators(table: Table) -> None:
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3, 3, 3, 3]
    assert r"\<script\>" in lines[2]
    assert lines[3] == f"| b | {NONE} |"


def test_latex_escapes_special_characters(table: Table) -> None:
    text = to_latex(table)
    assert r"\begin{tabular}{ll}" in text
    assert r"a\textbar{}b\_c \& 50 \% \$x\$ \#1 \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{}" in text
    assert r"0.333 $\pm$ 0.100 (3)" in text
    assert r"Title\_1" in text
    assert r"\textless{}script\textgreater{}" in text
    body = io.StringIO(text[text.index(r"\midrule") : text.index(r"\bottomrule")])
    rows = [line for line in body if line.rstrip().endswith(r"\\")]
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("name", "file"), [("a/b", "a-b"), ("../x", "x"), ("<s>", "s"), ("/", "unnamed"), ("ü 1", "ü-1")]
)
def test_file_names_are_safe(name: str, file: str) -> None:
    assert to_file_name(name) == file


@pytest.mark.parametrize("sign", ["[", "*"])
def test_no_row_starts_with_a_latex_line_break_option(sign: str) -> None:
    shown = pd.DataFrame({f"{sign}set": [f"{sign}red] cells"], "n": ["1"]})
    assert not re.search(rf"^\{sign}", to_latex(Table("x", "Title", "", shown, shown)), re.MULTILINE)


def test_different_names_get_different_files() -> None:
    long = ["y" * 300, "y" * 301, "細" * 200]
    found = assign_file_names(["a/b", "a-b", "a b", "A-B", *long, "a/b"])
    assert [found[name] for name in ("a/b", "a-b", "a b", "A-B")] == ["a-b", "a-b_2", "a-b_3", "A-B_4"]
    assert len({name.casefold() for name in found.values()}) == 7
    assert all(len(found[name].encode()) <= MAX_BYTES for name in long)


def test_text_is_not_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    numbers = pd.DataFrame(
        {"name": ["=1+1", "@x", "-y", "\tz", "a=b"], "score": [-0.25, 1.0, float("nan"), 2.0, 3.0], "count": range(5)}
    )
    table = Table("t", "t", "", numbers.assign(**{"=head": -1}), numbers[["name"]])
    path = write_table(table, tmp_path)[0]
    read = pd.read_csv(path)
    assert list(read["name"]) == ["'=1+1", "'@x", "'-y", "'\tz", "a=b"]
    assert list(read.columns) == ["name", "score", "count", "'=head"]
    assert read["score"].iloc[0] == -0.25
    assert (read["'=head"] == -1).all()
    assert read["count"].dtype == "int64"
