"""Keys that do not fit a selection.csv are reported before anything runs, one line each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from simclr_med.config.selection_keys import selected_by, selection_hash
from simclr_med.config.validate import find_problems, validate_config
from simclr_med.errors import ConfigError
from simclr_med.runs.identity import scientific_config
from simclr_med.selection_csv import SelectedImage, format_selection

Compose = Callable[..., DictConfig]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [SelectedImage(row, f"{row:032x}", "typiclust") for row in range(20)]
    (tmp_path / "selection.csv").write_text(format_selection(lines), encoding="utf-8")
    return tmp_path / "selection.csv"


def test_the_config_records_the_method_and_the_images(composed: Compose, file: Path) -> None:
    fraction = validate_config(composed("data_fraction.samples=5", f"data_fraction.file={file}")).data_fraction
    assert fraction.selected_by == "typiclust"
    assert fraction.selection_hash == selection_hash(str(file), 5) != selection_hash(str(file), 6)
    none = validate_config(composed("data_fraction.samples=5")).data_fraction
    assert none.file is none.selected_by is none.selection_hash is None


def test_without_a_file_the_identity_is_that_of_earlier_releases(composed: Compose) -> None:
    content = scientific_config(validate_config(composed("data_fraction.samples=5")).plain)["data_fraction"]
    earlier = ("samples", "percent", "per_class", "strategy", "strict", "imbalance_factor", "seed", "validation")
    assert set(content) == set(earlier)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "data_fraction.file=FILE: needs a number of images. Add data_fraction.samples=100, for example."),
        (["data_fraction.percent=5"], "data_fraction.file=FILE: needs a number of images."),
        (["data_fraction=per_class10"], "data_fraction.file=FILE: needs a number of images."),
        (["data_fraction.samples=21"], "data_fraction.samples=21: FILE lists 20 images. Choose fewer, or select more"),
        (["data_fraction.samples=9", "data_fraction.imbalance_factor=2"], "imbalance_factor=2.0: not available with"),
        (["data_fraction.samples=9", "data_fraction.selected_by=me"], "data_fraction.selected_by=me: read from data_"),
        (["data_fraction.samples=9", "data_fraction.selection_hash=1"], "selection_hash=1: read from data_fraction.f"),
    ],
)
def test_keys_that_do_not_fit_the_file(composed: Compose, file: Path, overrides: list[str], message: str) -> None:
    found = find_problems(composed(f"data_fraction.file={file}", *overrides))
    assert len(found) == 1
    assert message.replace("FILE", str(file)) in found[0]


def test_keys_of_a_file_need_the_file(composed: Compose) -> None:
    (found,) = find_problems(composed("data_fraction.selected_by=typiclust"))
    assert found == "data_fraction.selected_by=typiclust: read from data_fraction.file. Remove it."


@pytest.mark.parametrize("content", [None, "", "rank,index\n1,2\n", "\0\0", "index,method,sha256\n1,a\n"])
def test_a_missing_or_damaged_file_is_one_line(composed: Compose, file: Path, content: str | None) -> None:
    file.unlink()
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"not a readable selection.csv"):
        selected_by(str(file))
    (found,) = find_problems(composed("data_fraction.samples=5", f"data_fraction.file={file}"))
    assert found.startswith(f"data_fraction.file={file}: not a readable selection.csv (")
    assert "\n" not in found


@pytest.mark.parametrize("rounds", ["[]", "[1]", "[50,20]", "[20,20]"])
def test_rounds_increase(composed: Compose, rounds: str) -> None:
    (found,) = find_problems(composed("stage=select", f"stage.rounds={rounds}"))
    assert "expected increasing numbers of images >= 2" in found


def test_an_unknown_method_is_one_line(composed: Compose) -> None:
    (found,) = find_problems(composed("stage=select", "stage.method=typicalclust"))
    assert "stage.method=typicalclust: expected one of typiclust, coverage, random, margin, disagreement" in found


@pytest.mark.parametrize("method", ["margin", "disagreement"])
def test_methods_that_learn_need_labelled_images(composed: Compose, file: Path, method: str) -> None:
    given = ("stage=select", f"stage.method={method}")
    assert not find_problems(composed(*given, f"data_fraction.file={file}", "data_fraction.samples=9"))
    (found,) = find_problems(composed(*given))
    assert found.startswith(f"stage.method={method}: needs images that are labelled already. Add data_fraction.file=")
    (found,) = find_problems(composed(*given, f"data_fraction.file={file}"))
    assert "needs a number of images" in found
    words = (f"data_fraction.file={file}", "data_fraction.samples=9")
    (found,) = find_problems(composed(*given, *words, "stage.rounds=[5,9]"))
    assert found.startswith("stage.rounds=[5, 9]: 9 images are labelled already.")
    (found,) = find_problems(composed(*given, *words, "stage.methods_with_labels.labels_hash=1"))
    assert found.startswith("stage.methods_with_labels.labels_hash=1: read from data_fraction.file.")


def test_other_methods_use_no_label_budget(composed: Compose, file: Path) -> None:
    override = "data_fraction.samples=9"
    (found,) = find_problems(composed("stage=select", override), [override])
    assert found.startswith("data_fraction.samples=9: not used by stage=select (")
    words = ("stage.method=margin", f"data_fraction.file={file}", override)
    assert not find_problems(composed("stage=select", *words), words)


def test_the_identity_of_other_methods_is_that_of_earlier_releases(composed: Compose) -> None:
    stage = scientific_config(validate_config(composed("stage=select")).plain)["stage"]
    assert set(stage) == {"name", "_target_", "method", "methods", "rounds", "pictures"}


def test_labels_in_the_file_are_part_of_the_identity(composed: Compose, tmp_path: Path) -> None:
    def identity(*labels: str) -> str:
        lines = [SelectedImage(row, f"{row:032x}", "random", label=label) for row, label in enumerate(labels)]
        path = tmp_path / "labelled.csv"
        path.write_text(format_selection(lines), encoding="utf-8")
        words = ("stage=select", "stage.method=margin", f"data_fraction.file={path}", "data_fraction.samples=2")
        return json.dumps(scientific_config(validate_config(composed(*words)).plain), sort_keys=True)

    assert identity("a", "b", "") == identity("a", "b", "c") != identity("b", "a", "")
    assert len({identity("", "", ""), identity("a", "b", "")}) == 2
