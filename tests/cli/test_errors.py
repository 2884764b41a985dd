"""Mistakes on the command line: one line each, the right exit code, no files written."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from simclr_med import build
from simclr_med.cli import main as entry
from simclr_med.models.encoders import resnet, tiny
from simclr_med.stages import pretrain as stage_pretrain


class Outcome(NamedTuple):
    status: int
    out: str
    lines: list[str]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The console entry in this process, with everything it keeps inside tmp_path."""
    for name in ("runs", "data", "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME" if name == "cache" else f"SIMCLR_MED_{name.upper()}", str(tmp_path / name))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*words: str) -> Outcome:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["simclr-med", *map(str, words)])
        capfd.readouterr()
        status = 0
        try:
            entry.main()
        except SystemExit as end:
            status = end.code
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err.splitlines())

    return run


def recorded(tmp_path: Path) -> str:
    """The message of the one failed run."""
    (failure,) = tmp_path.glob("runs/*/*/*/failure.json")
    assert not list(tmp_path.glob("runs/*/*/*/result.json"))
    content = json.loads(failure.read_text(encoding="utf-8"))
    assert "Traceback" in content["traceback"]
    return content["message"]


def nothing_left(tmp_path: Path) -> bool:
    return not list(tmp_path.glob("runs/*/*")) and not list((tmp_path / "work").iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(**more: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with np.load(path) as file:
            content = dict(file) | more
        np.savez(path, **{key: value for key, value in content.items() if value is not None})

    return change


NPZ = {
    "cut": (cut, "not an intact .npz file (it is cut short or damaged). Copy or download it again"),
    "a label too high": (changed(val_labels=np.full(16, 9)), "=9: expected labels in 0..2"),
    "no val": (changed(val_images=None), "array not found; the file has test_images"),
}


@pytest.mark.parametrize("name", NPZ)
def test_a_bad_npz(typed, cells: Path, tmp_path: Path, name: str) -> None:
    change, message = NPZ[name]
    change(cells)
    done = typed("dataset=npz", f"dataset.path={cells}")
    assert (done.status, len(done.lines)) == (1, 1)
    assert done.lines[0].startswith(str(cells))
    assert message in done.lines[0]
    assert recorded(tmp_path) == done.lines[0]


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("kind", ["npz", "zip", "pickle"])
def test_a_pickle_is_refused_and_not_executed(typed, cells: Path, tmp_path: Path, kind: str) -> None:
    mark, weights = tmp_path / "executed", tmp_path / "weights.pt"
    words = [f"dataset.path={cells}", "init=checkpoint", f"init.path={weights}"]
    evil = {"state_dict": tiny().state_dict(), "extra": Malicious(mark)}
    if kind == "npz":
        changed(train_labels=np.array([Malicious(mark)] * 40, dtype=object))(cells)
        words = words[:1]
    elif kind == "pickle":
        weights.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, weights)
    done = typed("dataset=npz", "encoder=tiny", *words)
    assert done.status == 1
    assert len(done.lines) == 1
    assert "which can run code" in done.lines[0]
    assert recorded(tmp_path) == done.lines[0]
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["another encoder", "cut"])
def test_a_bad_checkpoint(typed, cells: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "Größe, a=b (1).pt"
    torch.save(resnet(18).state_dict() if kind == "another encoder" else tiny().state_dict(), path)
    message = "found those of resnet18 with the stock stem. Choose the encoder"
    if kind == "cut":
        cut(path)
        message = "not an intact checkpoint"
    done = typed("dataset=npz", f"dataset.path={cells}", "encoder=tiny", "init=checkpoint", f"init.path={path}")
    assert (done.status, len(done.lines)) == (1, 1)
    assert done.lines[0].startswith(f"checkpoint={path}: ")
    assert message in done.lines[0]
    assert recorded(tmp_path) == done.lines[0]


def written(name: str, content: bytes) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return write


@pytest.mark.parametrize("kind", ["unreadable", "an empty class", "no images"])
def test_a_bad_folder(typed, tmp_path: Path, kind: str) -> None:
    root = tmp_path / "images"
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/2.png"):
        written(name, b"no image" if kind == "unreadable" else b"")(root)
    message = "not a readable image (it is text). Replace or remove the file."
    if kind == "an empty class":
        (root / "c").mkdir()
        message = f"{root / 'c'}: the class folder has no images."
    if kind == "no images":
        shutil.rmtree(root)
        written("scan.nii", b"")(root)
        message = "found (1 files end in .nii). Convert the files, or check the path."
    done = typed("dataset=folder", f"dataset.path={root}")
    assert (done.status, len(done.lines)) == (1, 1)
    assert message in done.lines[0]
    assert recorded(tmp_path) == done.lines[0] if kind == "unreadable" else nothing_left(tmp_path)


FEW = {
    "too large": (["data_fraction.samples=100"], "data_fraction.samples=100: only 40 images are available"),
    "one image of 40": (["data_fraction=pct1"], "expected at least 2 training images; data_fraction selects 1 of 40"),
    "micro-batches": (["stage.accumulate=32"], "expected at least 64 training images (2 in each micro-batch"),
}


@pytest.mark.parametrize("name", FEW)
def test_too_few_images(typed, cells: Path, tmp_path: Path, name: str) -> None:
    words, message = FEW[name]
    done = typed("dataset=npz", f"dataset.path={cells}", *words)
    assert (done.status, len(done.lines)) == (1, 1)
    assert message in done.lines[0]
    assert recorded(tmp_path) == done.lines[0]


MISTAKES = [
    (["seed=0,1"], "seed=0,1: several values outside a sweep. Add -m to run one job for each."),
    (["--epochs", "3"], "--epochs: unknown flag. Write keys without dashes"),
    (["--experimental-rerun", "x.pickle"], "--experimental-rerun: unknown flag."),
    (["--experimental-rerun=x.pickle"], "--experimental-rerun=x.pickle: unknown flag."),
    (["--config-name", "--experimental-rerun", "x.pickle"], "--config-name: no value given."),
    (["encoder._target_=numpy.load"], "encoder._target_=numpy.load: not a target of this group. Add allow_code=true"),
    (["--cfg", "jobs"], "--cfg jobs: unknown value. Choose one of all, hydra, job."),
    (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
    (["trainer.devices=0"], "trainer.devices=0: expected an integer >= 1."),
    (["stage.batch_size=1"], "stage.batch_size=1: expected an integer >= 2."),
    (
        ["dataset.name=../../x"],
        "dataset.name=../../x: expected at most 60 letters, digits, underscores, dots and dashes",
    ),
    (["dataset=npz", "dataset.path="], "dataset.path=: expected a value, not an empty text."),
    (["dataset=npz", "dataset.path=null"], "dataset.path=null: null is not allowed."),
    (["dataset=npz", "dataset.path=${x}.npz"], "dataset.path=${x}.npz: the config has no such key."),
    (["dataset=npz", "dataset.path=a", "dataset.size=64"], "dataset.size=64: unknown key. Known keys: dataset.n"),
    (["dataset=breastmnist", "dataset.size=30"], "dataset.size=30: expected one of 28, 64, 128, 224."),
    (
        ["dataset=folder", "dataset.path=a", "dataset.val_fraction=.8"],
        "no training images are left. Lower",
    ),
    (["~stage.epochs"], "~stage.epochs: keys cannot be deleted."),
    (["~seed"], "~seed: keys cannot be deleted."),
    (["seed=${seed}"], "seed=${seed}: refers to itself."),
    (["seed=${data_fraction.seed}"], "seed}: refers to itself."),
    (["seed=${dataset}"], "seed=${dataset}: refers to a value of another type."),
    (["seed=${nope:1}"], "seed=${nope:1}: there is no resolver nope."),
    (["seed=${oc.env:SIMCLR_MED_NOPE}"], "the environment variable SIMCLR_MED_NOPE is not set."),
    (["=1"], "=1: not of the form <key>=<value>."),
    (["hydra=1"], "hydra=1: expected the name of an option. Remove this override."),
    (["paths.runs="], "paths.runs=: expected a value, not an empty text."),
    (["stage=null"], "stage=null: expected the name of an option. Choose one of analyse,"),
    (["data_fraction=n7"], "For any other budget set data_fraction.samples="),
    (["stage=probe", "stage.budgets=50"], "stage.budgets=50: expected a list in brackets: [a,b]. Change the value."),
    (["encoder.mean=[1,2]"], "encoder.mean=[1.0, 2.0]: expected three finite numbers"),
    (["encoder.std=[1,nan,1]"], "encoder.std=[1.0, nan, 1.0]: expected a list of finite numbers"),
    (["stage.budgets=[1]", "stage=probe"], "stage.budgets=1: expected an integer >= 2. Correct it."),
    (["stage=probe", "stage.budgets={a:1}"], "stage.budgets={a:1}: expected a list in brackets: [a,b]."),
    (["stage=probe", "stage.seeds=[null]"], "stage.seeds=[null]: null is not allowed."),
    (["stage.knn=3"], "stage.knn=3: expected a mapping. Set one of its keys: stage.knn.k, stage.knn.temperature,"),
    (["stage.knn={a:1}"], "stage.knn={a:1}: unknown key stage.knn.a. Known keys: stage.knn.k, stage.knn.temperature,"),
    (["stage.name=../x"], "stage.name=../x: expected at most 60 letters, digits, underscores, dots and dashes"),
    (["seed=${"], "seed='${': not a valid interpolation. Correct the text after the dollar sign."),
    (
        ["dataset=npz", "dataset.path=a", "dataset.class_names={a:1}"],
        "dataset.class_names={a:1}: a mapping is not allowed.",
    ),
    (["+stage=probe"], "+stage=probe: the config has this group already. Write stage=probe."),
    (["dataset=3"], "dataset=3: expected the name of an option. Choose one of bloodmnist,"),
    (["stage=preview", "stage.sequences=[[a]]"], "stage.sequences=[['a']]: expected a list of names."),
    (["stage=report", "stage.datasets=[[a]]"], "stage.datasets=[['a']]: expected a list of names."),
    (["stage=report", "stage.datasets=[..]"], "stage.datasets=..: expected the name of a folder of runs."),
    (["stage=analyse", "stage.perplexities=[nan]"], "stage.perplexities=[nan]: expected a list of finite numbers."),
    (
        ["experiment=thesis_finetune", "init=imagenet"],
        "experiment/thesis_finetune.yaml: unknown key augmentation. Remove it, or leave out init=imagenet.",
    ),
    (["init=pretrained", "init.path=x"], "init.path=x: unknown key. It needs init=checkpoint."),
    (["hydra.run.dir=/proc/none/x"], "No such file"),
]


@pytest.mark.parametrize(("overrides", "expected"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistake_on_the_command_line_is_one_line(typed, tmp_path: Path, overrides: list[str], expected: str) -> None:
    done = typed(*overrides)
    assert done.status == 2
    assert len(done.lines) == 1
    assert expected in done.lines[0]
    assert nothing_left(tmp_path)


YAML = {
    "name: [1, 2\n  x: {": "dataset/mine.yaml: not valid YAML (expected",
    "defaults: [npz, _self_]\npath: x\nfoo: 1": "dataset/mine.yaml: unknown key foo.",
    "defaults: [nps, _self_]": "dataset/mine.yaml: unknown option nps in defaults. Correct the name.",
    "defaults: [npz, _self_]\npath: x\nmirror_p: often": "dataset/mine.yaml: dataset.mirror_p: expected a number.",
    "a: &a [*a]": "dataset=mine: its YAML file refers to itself, or is nested too deeply. Correct the file.",
    "- a\n- b": "dataset: expected a mapping with name and _target_.",
    "name: x": "dataset: expected a mapping with name and _target_.",
}


@pytest.mark.parametrize("text", YAML)
def test_mistake_in_the_users_yaml_is_one_line(typed, tmp_path: Path, text: str) -> None:
    written("dataset/mine.yaml", text.encode())(tmp_path / "conf")
    done = typed("stage=pretrain", "--config-dir", tmp_path / "conf", "dataset=mine")
    assert done.status == 2
    assert len(done.lines) == 1
    assert YAML[text] in done.lines[0]
    assert nothing_left(tmp_path)


WITHOUT_TARGET = {
    "optimizer/mine.yaml": "name: mine\nlr: 0.1\n",
    "schedule/mine.yaml": "name: mine\n_target_: null\n",
    "stage/mine.yaml": "# @package _global_\nstage: {name: mine, epochs: 1}\n",
}


@pytest.mark.parametrize("name", WITHOUT_TARGET)
def test_own_yaml_without_target_is_one_line(typed, tmp_path: Path, name: str) -> None:
    written(name, WITHOUT_TARGET[name].encode())(tmp_path / "conf")
    group = name.split("/")[0]
    words = ("--config-dir", tmp_path / "conf", f"{group}=mine", "dataset=synthetic", "dry_run=true", "allow_code=true")
    done = typed(*words)
    assert (done.status, len(done.lines)) == (2, 1)
    assert f"{group}: expected a mapping with " in done.lines[0]
    assert nothing_left(tmp_path)


PLANTED = {
    "encoder/mine.yaml": "# @package _global_\nallow_code: true\nencoder: {name: mine, _target_: os.mkdir, path: %s}\n",
    "dataset/mine.yaml": "# @package _global_\nhydra: {callbacks: {x: {_target_: os.mkdir, path: %s}}}\n",
    "init/mine.yaml": "name: mine\n_target_: simclr_med.runs.init.checkpoint\npath: {_target_: os.mkdir, path: %s}\n",
}


@pytest.mark.parametrize("name", PLANTED)
def test_code_of_own_yaml_needs_a_typed_allow_code(typed, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    written(name, (PLANTED[name] % marker).encode())(tmp_path / "conf")
    words = ("--config-dir", tmp_path / "conf", f"{name.split('/')[0]}=mine", "dry_run=true")
    for more in ((), ("allow_code=false",)):
        done = typed(*words, *more)
        assert (done.status, len(done.lines)) == (2, 1)
        assert done.lines[0].endswith("Add allow_code=true to run code of your own.")
        assert not marker.exists()


def test_typed_allow_code_runs_code_of_own_yaml(typed, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    written("init/mine.yaml", (PLANTED["init/mine.yaml"] % marker).encode())(tmp_path / "conf")
    typed("--config-dir", tmp_path / "conf", "init=mine", "dry_run=true", "allow_code=true")
    assert marker.exists(), "what the test above refuses would have run"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~nobody/x", "there is no file "),
        ("/dev/zero", "cannot be read (not a regular file). Check the path."),
        ("/dev", "cannot be read (is a folder). Check the path."),
        ("x" * 5000, " ... "),
    ],
)
def test_a_checkpoint_that_is_no_file(typed, path: str, expected: str) -> None:
    done = typed("init=checkpoint", f"init.path={path}")
    assert (done.status, len(done.lines)) == (1, 1)
    assert done.lines[0].startswith(f"init.path={path[:99]}")
    assert expected in done.lines[0]
    assert len(done.lines[0]) < 2_100


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 500 + "]" * 500])
def test_a_value_beyond_the_limits_of_python_is_one_line(typed, value: str) -> None:
    done = typed(f"seed={value}")
    assert (done.status, len(done.lines)) == (2, 1)
    assert done.lines[0].endswith(": a number is too long, or brackets are nested too deeply. Correct it.")


def test_a_run_folder_with_too_long_a_name_is_one_line(typed) -> None:
    done = typed("stage=probe", f"paths.runs={'x' * 5000}")
    assert (done.status, len(done.lines)) == (1, 1)
    assert done.lines[0].endswith("xxx...: File name too long. Check the path.")


def test_mistake_shared_by_all_jobs_of_a_sweep_is_printed_once(typed) -> None:
    done = typed("-m", "seed=0,1,2", "stage.epochs=0")
    assert (done.status, len(done.lines)) == (2, 1)


def test_flags_may_stand_anywhere(typed, tmp_path: Path) -> None:
    done = typed("dataset=synthetic", "-m", "seed=0,1", "dry_run=true")
    assert (done.status, done.lines) == (0, [])
    assert sum(line.startswith("pending ") for line in done.out.splitlines()) == 2


def test_a_path_with_a_comma_is_one_path(typed, cells: Path, tmp_path: Path) -> None:
    path = cells.rename(tmp_path / "cells a,b.npz")
    done = typed("dataset=npz", f"dataset.path={path}", "dry_run=true")
    assert (done.status, done.lines) == (0, [])
    assert "/pretrain/cells-a-b/" in done.out


def test_a_data_folder_that_is_a_file(typed, cells: Path) -> None:
    done = typed("dataset=breastmnist", f"paths.data={cells}")
    assert (done.status, done.lines) == (
        1,
        [f"paths.data={cells}: expected a folder, found a file. Choose another folder."],
    )


def test_out_of_memory_is_reported_with_a_remedy(
    typed, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_pretrain, "build_module", lambda *_: torch.empty(10**15))
    done = typed("dataset=npz", f"dataset.path={cells}", "logger=none")
    assert (done.status, len(done.lines)) == (1, 1)
    assert done.lines[0].startswith("Out of memory (")
    assert "Lower stage.batch_size" in done.lines[0]
    assert "allocate" in recorded(tmp_path)


def test_a_bug_is_one_line_with_its_place(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build_source", lambda cfg: 1 / 0)
    done = typed("dataset=synthetic")
    assert (done.status, len(done.lines)) == (1, 1)
    assert done.lines[0].startswith("ZeroDivisionError: division by zero (test_errors.py, line ")
