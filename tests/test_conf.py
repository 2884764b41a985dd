"""Every option of every group composes, keeps its types and binds to the signature of what it names."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, open_dict

from simclr_med.config.medmnist_info import load_medmnist_table
from simclr_med.config.validate import find_problems, validate_config

CONF = Path(__file__).parents[1] / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
# What an option cannot know by itself.
NEEDS = {
    ("dataset", "npz"): ["dataset.path=cells.npz"],
    ("dataset", "folder"): ["dataset.path=images"],
    ("dataset", "parquet"): ["dataset.path=cells.parquet"],
    ("encoder", "timm"): ["encoder.model=test_resnet"],
    ("init", "checkpoint"): ["init.path=encoder.safetensors"],
    ("stage", "export"): ["stage.run=runs/probe/cells/a"],
    ("init", "saved"): ["init.run=runs/probe/cells/a"],
    ("stage", "test"): ["stage.run=runs/probe/cells/a"],
    ("stage", "predict"): ["stage.run=runs/probe/cells/a"],
}
# Arguments that the code adds to a node's own keys when it builds it.
GIVEN = {
    "optimizer": {"named_parameters"},
    "schedule": {"total_steps", "steps_per_epoch"},
    "logger": {"folder", "name", "group", "job_type", "tags"},
}
SELECTS = {"candidates", "rounds", "seed"}
# The same, of the nodes of a stage, by the module of their target.
ADDED = {
    "simclr_med.evaluation.probe": {"train", "val", "task", "classes", "seed", "cache"},
    "simclr_med.evaluation.typiclust": SELECTS,
    "simclr_med.evaluation.probcover": SELECTS,
    "simclr_med.evaluation.label_order": SELECTS,
    "simclr_med.evaluation.uncertainty": SELECTS | {"known"},
}


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{group}={option}" for group, option in OPTIONS])
def test_option_composes_and_its_targets_take_its_keys(composed, group: str, option: str) -> None:
    cfg = validate_config(composed(f"{group}={option}", *NEEDS.get((group, option), []))).plain
    if group not in ("experiment", "grid"):
        assert cfg[group].name == option or (group, option) in NEEDS
    top = cfg.get(group)
    for node in targets(top):
        target = get_object(node["_target_"])
        read_elsewhere = {"_target_", "mirror_p"} | ({"exclude", "metadata_csv"} if group == "dataset" else set())
        keys = {key for key in node if key not in read_elsewhere}
        if node is top and group == "stage":
            continue  # a stage is called with its run
        if (node is top or "ops" in node) and group != "dataset":
            keys.discard("name")
        given = GIVEN.get(group, set()) if node is top or group == "logger" else set()
        given = GIVEN["logger"] if target.__module__ == "simclr_med.tracking.loggers" else given
        added = ADDED.get(target.__module__, set())
        inspect.signature(target).bind(**dict.fromkeys(keys | given | added))


def targets(node: object) -> list[DictConfig]:
    """Every node below (and with) this one that names a target."""
    found: list[DictConfig] = []
    if isinstance(node, DictConfig):
        found += [node] if "_target_" in node else []
        for key in node:
            found += targets(node[key])
    elif isinstance(node, ListConfig):
        for item in node:
            found += targets(item)
    return found


def test_every_2d_set_of_medmnist_is_an_option() -> None:
    flags = {flag for flag in load_medmnist_table() if not flag.endswith("3d")}
    assert len(flags) == 12
    assert flags <= {option for group, option in OPTIONS if group == "dataset"}


@pytest.mark.parametrize("size", [28, 64, 128, 224])
def test_each_size_has_its_own_file(composed, size: int) -> None:
    info = validate_config(composed("dataset=pathmnist", f"dataset.size={size}")).plain.dataset.info
    suffix = "" if size == 28 else f"_{size}"
    assert info.url.split("?")[0].endswith(f"/pathmnist{suffix}.npz")
    assert info.md5 == load_medmnist_table()["pathmnist"][f"MD5{suffix}"]


def test_the_recipe_of_the_thesis_is_an_experiment(composed) -> None:
    cfg = validate_config(composed("experiment=thesis_pretrain", "dataset=bloodmnist"))
    assert (cfg.augmentation.name, cfg.encoder.name, cfg.init.name) == ("novel", "resnet18", "random")
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, cfg.stage.temperature) == (5e-4, 1e-4, 0.07)
    assert (cfg.schedule.name, cfg.schedule.warmup_epochs, cfg.schedule.final_factor) == ("warmup_cosine", 0, 0.02)
    assert (cfg.stage.batch_size, cfg.stage.epochs) == (256, 200)
    assert cfg.stage.head.to_dict() == {"hidden": None, "out": 128, "layers": 2, "batch_norm": False}


@pytest.mark.parametrize("stage", ["probe", "finetune"])
def test_the_thesis_starts_from_its_own_pretraining(composed, stage: str) -> None:
    cfg = composed(f"experiment=thesis_{stage}", "dataset=bloodmnist")
    pretraining = composed("experiment=thesis_pretrain", "dataset=bloodmnist")
    assert (cfg.init.encoder, cfg.init.augmentation) == (pretraining.encoder.name, pretraining.augmentation.name)
    assert composed(f"experiment=thesis_{stage}", "dataset=bloodmnist", "init=random").init.name == "random"


@pytest.mark.parametrize(("flag", "epochs"), [("pathmnist", 201), ("retinamnist", 10000), ("bloodmnist", 2000)])
def test_thesis_experiments_have_its_epochs(composed, flag: str, epochs: int) -> None:
    cfg = composed(f"experiment=thesis_{flag}")
    assert (cfg.dataset.name, cfg.stage.epochs) == (flag, epochs)
    assert composed(f"experiment=thesis_{flag}", "stage.epochs=3").stage.epochs == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data_fraction.samples=5", "data_fraction.per_class=5"], "more than one label budget"),
        (["data_fraction.per_class=5", "data_fraction.imbalance_factor=3"], "imbalance_factor=3.0: not available with"),
        (["stage.batch_size=10", "stage.accumulate=4"], "expected a multiple of"),
        (["stage.batch_size=4", "stage.accumulate=4"], "less than two images"),
        (["stage.exact_accumulate=true"], "stage.exact_accumulate=true: needs micro-batches."),
        (
            ["dataset=synthetic", "stage.positives=patient"],
            "dataset=synthetic does not name the patient of each image.",
        ),
        (["dataset=bloodmnist", "stage.mask_same_patient=true"], "Set dataset.groups_csv (npz, folder), dataset.csv"),
        (
            ["dataset=npz", "dataset.path=a.npz", "stage.positives=patient"],
            "stage.positives=patient: dataset=a does not",
        ),
        (["stage.positives=lesion"], "stage.positives=lesion: expected one of image, patient."),
        (["stage=probe", "stage.solvers.logistic.highest=1e-6"], "lowest=1e-05: expected at most highest=1e-06."),
        (["dataset=bloodmnist", "dataset.size=32"], "dataset.size=32: expected one of 28, 64, 128, 224"),
        (["stage.epochs=0"], "stage.epochs=0: expected an integer >= 1. Leave"),
        (["dataset=chestmnist", "data_fraction.per_class=5"], "data_fraction.per_class=5: not available for dataset=c"),
        (["dataset=chestmnist", "data_fraction.imbalance_factor=3"], "imbalance_factor=3.0: not available for dataset"),
        (["data_fraction.validation=whole"], "data_fraction.validation=whole: expected one of within, split"),
    ],
)
def test_rules_across_keys(composed, overrides: list[str], message: str) -> None:
    found = find_problems(composed(*overrides))
    assert len(found) == 1
    assert message in found[0]


def test_a_multi_label_file_has_no_budget_per_class(composed) -> None:
    data = ["dataset=npz", "dataset.path=scans.npz", "data_fraction.per_class=5"]
    (line,) = find_problems(composed(*data, "dataset.task='multi-label, binary-class'"))
    assert line.startswith("data_fraction.per_class=5: not available for dataset=scans")
    assert find_problems(composed(*data)) == [], "only the file knows its task"


def test_a_validated_config_cannot_be_changed(composed) -> None:
    cfg = validate_config(composed())
    for node, key in ((cfg, "seed"), (cfg.stage, "epochs"), (cfg.stage.head, "out"), (cfg.stage, "monitr_every")):
        with pytest.raises(FrozenInstanceError, match=key):
            setattr(node, key, 3)
    with pytest.raises(Exception, match="read-only"):
        cfg.plain.seed = 3


def test_an_option_without_a_type_keeps_its_keys(composed) -> None:
    cfg = composed("stage=probe", "init=random", "allow_code=true")
    with open_dict(cfg):
        cfg.encoder = {"name": "mine", "_target_": "lab.encoder", "width": 7}
        cfg.stage = {"name": "mine", "_target_": "lab.stage", "rounds": [1, 2], "always": True}
    found = validate_config(cfg)
    assert found.encoder.to_dict() == {"name": "mine", "_target_": "lab.encoder", "width": 7}
    assert (found.stage.rounds, found.stage.is_repeated, found.stage.folder) == ([1, 2], True, None)
    with pytest.raises(AttributeError, match="monitor"):
        found.stage.monitor  # noqa: B018


def test_the_recipes_of_the_simclr_papers_are_experiments(composed) -> None:
    v1, v2 = (validate_config(composed(f"experiment=simclr_v{number}_paper")) for number in (1, 2))
    for cfg in (v1, v2):
        assert (cfg.augmentation.name, cfg.encoder.name, cfg.optimizer.name) == ("simclr_imagenet", "resnet50", "lars")
        assert (cfg.encoder.zero_init_residual, cfg.optimizer.batch_size) == (True, None)
        assert (cfg.stage.batch_size, cfg.stage.temperature, cfg.schedule.final_factor) == (4096, 0.1, 0)
    head = {"hidden": None, "out": 128, "batch_norm": True}
    assert (v1.stage.head.to_dict(), v2.stage.head.to_dict()) == (head | {"layers": 2}, head | {"layers": 3})
    rates = [(cfg.optimizer.lr, cfg.optimizer.lr_scaling, cfg.optimizer.weight_decay) for cfg in (v1, v2)]
    assert rates == [(0.3, "linear", 1e-6), (0.1, "sqrt", 1e-4)]
    assert [(cfg.stage.epochs, cfg.schedule.warmup_epochs) for cfg in (v1, v2)] == [(100, 10), (800, 40)]
    jitter, blur = (next(op for op in v1.augmentation.ops if name in op["_target_"]) for name in ("jitter", "blur"))
    assert [jitter[key] for key in ("brightness", "contrast", "saturation", "hue")] == [0.8, 0.8, 0.8, 0.2]
    assert (blur["p"], blur.get("above_side", 0)) == (0.5, 0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage.teacher_fields=[projection]"], "stage.teacher_fields=projection: expected key=value."),
        (["stage.teacher=a", "stage.teacher_fields=['a=1']"], "not used with stage.teacher=a, which names the run."),
        (["stage.temperature=0"], "stage.temperature=0.0: expected a number > 0."),
        (["stage.alpha=0"], "stage.alpha=0.0: expected a number > 0 and <= 1."),
        (["init=pretrained", "init.head_layers=5"], "init.head_layers=5: expected an integer >= 1 and <= 4."),
    ],
)
def test_rules_of_distillation(composed, overrides: list[str], message: str) -> None:
    (found,) = find_problems(composed("stage=distill", *overrides))
    assert message in found
