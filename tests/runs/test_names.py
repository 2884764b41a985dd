"""The names of runs' folders: what differs from the defaults, in a few characters that every file system takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from simclr_med.config.validate import validate_config
from simclr_med.runs.identity import Init
from simclr_med.runs.names import LONGEST, SHOWN, method_name, readable_part, run_folder, shown_path

HASH = "0123456789abcdef"
RANDOM = Init("random", "random:0", seed=0)
Compose = Callable[..., DictConfig]


def name_of(composed: Compose, *overrides: str, init: Init = RANDOM) -> str:
    cfg = validate_config(composed(*overrides))
    return readable_part(run_folder(cfg.plain, HASH, init, cfg.changes))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "microscopy-s0"),
        (["stage.temperature=0.1", "stage.epochs=60", "seed=1"], "microscopy-t0.1-e60-s1"),
        (["stage.temperature=0.07", "stage.epochs=200", "dataset=bloodmnist"], "microscopy-s0"),
        (["dataset=bloodmnist", "dataset.size=64", "encoder=tiny"], "microscopy-tiny-64px-s0"),
        (["dataset=folder", "dataset.path=images"], "microscopy-64px-s0"),
        (["optimizer=lars"], "microscopy-lars-s0"),
        (["optimizer=sgd", "optimizer.lr=0.1"], "microscopy-sgd-lr0.1-s0"),
        (["stage=probe", "init=random"], "random-s0"),
        (["stage=probe", "init=random", "data_fraction=n100", "stage.solver=sgd"], "n100-random-sgd-s0"),
        (["stage=probe", "init=random", "data_fraction=n50", "data_fraction.validation=split"], "n50_split-random-s0"),
        (["stage=baseline", "data_fraction=n100", "optimizer.lr=0.002"], "microscopy-n100-lr0.002-s0"),
        (["stage=baseline", "stage.epochs=100"], "microscopy-s0"),
        (["stage=baseline", "augmentation=none", "stage.epochs=9"], "none-e9-s0"),
        (["experiment=thesis_bloodmnist"], "novel-resnet18-e2000-s0"),
        (["trainer=debug"], "microscopy-2steps-s0"),
    ],
)
def test_name_has_what_differs_from_the_defaults(composed: Compose, overrides: list[str], name: str) -> None:
    assert name_of(composed, *overrides) == name


def test_name_has_the_run_that_saved_the_encoder(composed: Compose) -> None:
    own, other = (
        Init("pretrained", "x", run=Path(f"/runs/pretrain/{dataset}/novel-t0.2-s1-{HASH[:10]}"))
        for dataset in ("synthetic", "cells")
    )
    assert name_of(composed, "stage=probe", "data_fraction=n50", init=own) == "n50-from_novel_t0.2_s1-s0"
    assert name_of(composed, "stage=probe", init=other) == "from_cells_novel_t0.2_s1-s0"
    model = Init("model", "x", run=Path(f"/runs/finetune/cells/light-n50-s1-{HASH[:10]}"))
    assert name_of(composed, "stage=test", "stage.run=a", init=model) == "finetune-cells-light-n50-s1"


def test_methods_do_not_depend_on_the_name_of_the_encoders_run(composed: Compose) -> None:
    cfg = validate_config(composed("stage=finetune", "dataset=bloodmnist")).plain
    names = ("novel-resnet18-full-random-seed0-0123456789", "novel-t0.2-s3-0123456789")
    inits = [Init("pretrained", "x", run=Path("/runs/pretrain/bloodmnist") / name) for name in names]
    expected = "bloodmnist 28 px, finetune, pretrained bloodmnist novel, microscopy, resnet14"
    assert {method_name(cfg, init) for init in inits} == {expected}


def test_folder_of_an_earlier_release_is_found_by_its_hash(composed: Compose, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    old = tmp_path / "pretrain" / "synthetic" / f"novel-resnet18-full-random-seed0-{HASH[:10]}"
    (old.parent / f"novel-resnet18-full-random-seed0-{HASH[1:11]}").mkdir(parents=True)
    assert run_folder(cfg.plain, HASH, RANDOM, cfg.changes).name == f"microscopy-s0-{HASH[:10]}"
    old.mkdir()
    assert run_folder(cfg.plain, HASH, RANDOM, cfg.changes) == old


def test_long_and_strange_values_make_a_valid_name_that_keeps_the_seed(composed: Compose) -> None:
    cfg = validate_config(composed("seed=7"))
    changes = {"augmentation.name": "ß/" * 90, "encoder.name": "../a b\n", "stage.temperature": 1e-9}
    name = readable_part(run_folder(cfg.plain, HASH, RANDOM, changes))
    assert "/" not in name
    assert name.endswith("-s7")
    assert len(name.encode()) <= LONGEST
    assert readable_part(run_folder(cfg.plain, HASH, RANDOM, {"encoder.name": "../a b\n"})) == "microscopy-a-b-s7"


def test_every_key_of_the_names_is_a_key_of_the_config(composed: Compose) -> None:
    cfg = composed("stage=probe")
    # Those of other stages or options.
    known = {"stage.temperature", "stage.epochs", "stage.batch_size", "stage.method", "encoder.model"}
    known |= {"stage.positives", "stage.mask_same_patient", "stage.exact_accumulate"}
    for key in set(SHOWN) - known:
        group, _, name = key.partition(".")
        assert group in cfg
        assert not name or name in cfg[group], key


def test_paths_are_shown_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "runs" / "a") == str(Path("runs/a"))
    assert shown_path(tmp_path.parent / "b") == str(tmp_path.parent / "b")
