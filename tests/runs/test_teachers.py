"""How stage=distill finds its teacher: by a folder, a name, a hash, or the fields of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.errors import MissingTeacherError, RunError
from simclr_med.runs.identity import Init
from simclr_med.runs.run import open_run
from simclr_med.selection_csv import SelectedImage, format_selection

Make = Callable[..., Path]


@pytest.fixture
def make(composed: Callable[..., Any], tmp_path: Path) -> Make:
    """Write a finished run with a classifier and return its folder."""

    def write(*words: str, stage: str = "finetune", head: bool = True) -> Path:
        cfg = validate_config(composed(f"stage={stage}", "encoder=tiny", f"paths.runs={tmp_path}", *words))
        with open_run(cfg, "d", Init("random", "random")) as run:
            if head:
                (run.folder / "head.safetensors").write_text("weights")
            run.finish({}, {}, {})
            return run.folder

    return write


@pytest.fixture
def found(composed: Callable[..., Any], tmp_path: Path) -> Callable[..., Init]:
    """The teacher of a run with these overrides."""

    def find(*words: str) -> Init:
        cfg = validate_config(composed("stage=distill", "encoder=tiny", f"paths.runs={tmp_path}", *words))
        teacher = build.build_init(cfg).teacher
        assert isinstance(teacher, Init)
        return teacher

    return find


def test_folder_name_and_hash_name_the_same_run(make: Make, found: Callable[..., Init]) -> None:
    folder = make("data_fraction=n50")
    make("data_fraction=n100")
    for name in (folder, folder.name, folder.name[-10:], folder.name[-10:-4]):
        assert found("data_fraction=n50", f"stage.teacher={name}").run == folder


def test_fields_find_the_finetune_run_of_the_same_encoder_budget_and_seed(
    make: Make, found: Callable[..., Init]
) -> None:
    folder = make("data_fraction=n50", "seed=3", "init.seed=3")
    for words in (["data_fraction=n100", "seed=3"], ["data_fraction=n50", "seed=2"], ["data_fraction=n50", "seed=3"]):
        make(*words, "init.seed=2")
    make("data_fraction=n50", "seed=3", stage="baseline")
    assert found("data_fraction=n50", "seed=3").run == folder, "init=random has the run's seed"


def test_further_fields_choose_among_several(make: Make, found: Callable[..., Init]) -> None:
    plain = make("data_fraction=n50")
    folder = make("data_fraction=n50", "stage.projection_layers=1")
    with pytest.raises(RunError, match=r"stage\.teacher=null: 2 finished finetune runs have encoder=tiny") as error:
        found("data_fraction=n50")
    assert {Path(line.strip()).name for line in error.value.problems[1:]} == {plain.name, folder.name}
    assert found("data_fraction=n50", "stage.teacher_fields=['stage.projection_layers=1']").run == folder


def test_missing_teacher_is_named_with_those_that_exist(make: Make, found: Callable[..., Init]) -> None:
    folder = make("data_fraction=n50")
    with pytest.raises(MissingTeacherError) as error:
        found("data_fraction=n100")
    first, *others = error.value.problems
    assert "no finished finetune run has encoder=tiny dataset.size=28 budget=n100 seed=0" in first
    assert folder.name in others[-1]


def test_other_labels_than_the_teachers_are_refused(make: Make, found: Callable[..., Init]) -> None:
    folder = make("data_fraction=n50", "seed=1")
    message = (
        rf"^data_fraction\.samples=null data_fraction\.seed=0 data_fraction\.validation=split: the teacher learned "
        rf"from other labels \(.*{folder.name}\), which count as this run's\. Add data_fraction\.samples=50 "
        r"data_fraction\.seed=1 data_fraction\.validation=within\.$"
    )
    with pytest.raises(RunError, match=message):
        found(f"stage.teacher={folder}")
    found(f"stage.teacher={folder}", "data_fraction=n50", "data_fraction.seed=1")


def test_a_random_budget_is_not_that_of_a_selection_of_the_same_size(
    make: Make, found: Callable[..., Init], tmp_path: Path
) -> None:
    file = tmp_path / "selection.csv"
    lines = [SelectedImage(row, f"{row:032x}", "typiclust") for row in range(50)]
    file.write_text(format_selection(lines), encoding="utf-8")
    selected = ("data_fraction=n50", f"data_fraction.file={file}")
    folder = make(*selected)
    with pytest.raises(MissingTeacherError):
        found("data_fraction=n50")
    message = (
        rf"^data_fraction\.file=null: the teacher learned from other labels \(.*\. Add data_fraction\.file={file}\.$"
    )
    with pytest.raises(RunError, match=message):
        found("data_fraction=n50", f"stage.teacher={folder}")
    assert found(*selected).run == found(*selected, f"stage.teacher={folder}").run == folder
    drawn = make("data_fraction=n50")
    assert found("data_fraction=n50").run == drawn
    with pytest.raises(RunError, match=r"Add data_fraction\.file=null\.$"):
        found(*selected, f"stage.teacher={drawn}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "no such run. List them with simclr-med runs."),
        ("{tmp}", "not the folder of a finished run. Give that of a probe, finetune, baseline or distill run."),
        ("{pretraining}", r"this run has no classifier \(head.safetensors\). Give a probe, finetune"),
    ],
)
def test_what_is_no_teacher_is_refused(
    make: Make, found: Callable[..., Init], tmp_path: Path, name: str, message: str
) -> None:
    pretraining = make(stage="pretrain", head=False)
    with pytest.raises(RunError, match=message):
        found(f"stage.teacher={name.format(tmp=tmp_path, pretraining=pretraining)}")


def test_several_runs_of_one_hash_prefix_are_listed(make: Make, found: Callable[..., Init]) -> None:
    first = make("data_fraction=n50")
    other = first.with_name(f"other-{first.name[-10:-1]}x")
    other.mkdir()
    (other / "result.json").write_text("{}")
    with pytest.raises(RunError, match=f"stage.teacher={first.name[-10:-2]}: 2 runs fit. Write more"):
        found(f"stage.teacher='{first.name[-10:-2]}'")


def test_identity_has_the_teachers_content(make: Make, composed: Callable[..., Any], tmp_path: Path) -> None:
    folder = make("data_fraction=n50")
    words = ("stage=distill", "encoder=tiny", f"paths.runs={tmp_path}", "data_fraction=n50")

    def identity(*more: str) -> str:
        return str(build.build_init(validate_config(composed(*words, *more))).identity)

    before = identity()
    assert identity(f"stage.teacher={folder}") == before, "however the teacher is named"
    assert before != build.instantiate_node(validate_config(composed(*words)).init).identity
    (folder / "head.safetensors").write_text("other weights")
    assert identity() != before
