"""A config names only the targets of its groups' tables, unless allow_code=true."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, open_dict

from simclr_med.config import targets
from simclr_med.config.validate import find_problems

EVIL = {"_target_": "numpy.load", "file": "x.npy", "allow_pickle": True}


def planted(cfg: DictConfig, key: str) -> DictConfig:
    """The config with a foreign target at a key."""
    with open_dict(cfg):
        parent, _, last = key.rpartition(".")
        node = cfg
        for part in parent.split(".") if parent else ():
            node = node[int(part)] if part.isdigit() else node[part]
        node[int(last) if last.isdigit() else last] = EVIL
    return cfg


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("augmentation.ops.0", "augmentation.ops[0]"),
        ("trainer.strategy", "trainer.strategy"),
        ("logger.loggers.0", "logger.loggers[0]"),
        ("augmentation.ops.1.scale", "augmentation.ops[1].scale"),
    ],
)
def test_foreign_target_at_any_depth_is_one_line(composed, key: str, shown: str) -> None:
    assert find_problems(composed()) == []
    assert find_problems(planted(composed(), key)) == [
        f"{shown}._target_=numpy.load: not a target of this group. Add allow_code=true to run code of your own."
    ]
    assert find_problems(planted(composed("allow_code=true"), key)) == []


@pytest.mark.parametrize("group", ["dataset", "encoder", "init", "optimizer", "schedule", "augmentation", "stage"])
@pytest.mark.parametrize("target", ["os.system", "simclr_med.config.registry.register", "simclr_med.atomic.sha256"])
def test_target_of_every_group_comes_from_its_table(composed, group: str, target: str) -> None:
    (line,) = find_problems(composed("stage=pretrain", f"{group}._target_={target}"))
    assert line.startswith(f"{group}._target_={target}: not a target of this group.")


def test_target_of_another_group_is_refused(composed) -> None:
    (line,) = find_problems(composed("encoder._target_=simclr_med.runs.init.random"))
    assert line.startswith("encoder._target_=simclr_med.runs.init.random: not a target")


def test_target_behind_an_interpolation_is_resolved(composed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "os.system")
    (line,) = find_problems(composed("encoder._target_=${oc.env:PLANTED}"))
    assert line.startswith("encoder._target_=os.system: not a target")


def test_target_that_is_no_text_is_refused(composed) -> None:
    cfg = composed()
    with open_dict(cfg):
        cfg.augmentation.ops = [{"_target_": ["os.system"]}]
    (line,) = find_problems(cfg)
    assert line.startswith("augmentation.ops[0]._target_=['os.system']: not a target")


def test_targets_of_the_preview_are_those_of_augmentation(composed) -> None:
    cfg = composed("stage=preview")
    assert find_problems(cfg) == []
    with open_dict(cfg):
        cfg.stage.options.natural.ops[0]._target_ = "os.system"
    (line,) = find_problems(cfg)
    assert line.startswith("stage.options.natural.ops[0]._target_=os.system: not a target")


def test_optimizers_of_torch_are_listed_by_class() -> None:
    assert targets.is_listed("optimizer", "torch.optim.RMSprop")
    for target in ("torch.optim.swa_utils.AveragedModel", "torch.load", "torch.optim.lr_scheduler.LambdaLR"):
        assert not targets.is_listed("optimizer", target)
    assert not targets.is_listed("encoder", "torch.optim.RMSprop")


def test_a_yaml_added_to_conf_joins_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "encoder" / "deeper").mkdir(parents=True)
    (tmp_path / "encoder" / "deeper" / "new.yaml").write_text("name: new\nparts: [{_target_: ward.net}]\n")
    monkeypatch.setattr(targets, "CONF", tmp_path)
    targets._listed.cache_clear()
    try:
        assert targets.is_listed("encoder", "ward.net")
        assert not targets.is_listed("encoder", "simclr_med.models.encoders.tiny")
    finally:
        targets._listed.cache_clear()
