"""One job for several budgets and seeds: every cell is the config of a single command."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from simclr_med import build
from simclr_med.config.budgets import expand_budgets, parse_budget
from simclr_med.config.validate import validate_config
from simclr_med.errors import ConfigError
from simclr_med.runs.identity import Init, compute_config_hash, scientific_config
from simclr_med.runs.names import run_folder

NONE = {"samples": None, "percent": None, "per_class": None}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (50, {"name": "n50", "samples": 50}),
        ("50", None),
        ("n50", {"name": "n50", "samples": 50}),
        ("pct10", {"name": "pct10", "percent": 10.0}),
        ("pct0.5", {"name": "pct0.5", "percent": 0.5}),
        ("per_class25", {"name": "per_class25", "per_class": 25}),
        ("full", {"name": "full"}),
        *((word, None) for word in ("n1.5", "per_class1.5", 1.5, True, None, "", "n", "x50", "n-5", -5, "n50 ", [50])),
    ],
)
def test_a_budget_in_a_word(word: object, expected: dict[str, object] | None) -> None:
    assert parse_budget(word) == (expected and NONE | expected)


@pytest.mark.parametrize(
    ("budget", "single"),
    [("50", "data_fraction=n50"), ("75", "data_fraction.samples=75"), ("pct3", "data_fraction.percent=3"),
     ("per_class10", "data_fraction=per_class10"), ("full", "data_fraction=full")],
)  # fmt: skip
@pytest.mark.parametrize("stage", ["probe", "finetune"])
def test_a_cell_is_the_run_of_its_single_command(composed, stage: str, budget: str, single: str) -> None:
    words = (f"stage={stage}", "init=random", "dataset=bloodmnist")
    origin = Init("random", "random")
    (cell,) = map(validate_config, expand_budgets(composed(*words, f"stage.budgets=[{budget}]", "stage.seeds=[3]")))
    single_run = validate_config(composed(*words, single, "seed=3"))
    assert scientific_config(cell.plain) == scientific_config(single_run.plain)
    folders = [
        run_folder(cfg.plain, compute_config_hash(cfg.plain, "d", origin.hash), origin) for cfg in (cell, single_run)
    ]
    assert folders[0] == folders[1]
    assert folders[0].parent == Path("runs").absolute() / stage / "bloodmnist"
    assert cell.data_fraction.seed == 3, "what follows the seed follows it in every cell"


def test_budgets_come_first_then_seeds(composed) -> None:
    found = expand_budgets(composed("stage=probe", "stage.budgets=[full,n50]", "stage.seeds=[1,0]"))
    assert [(cell.data_fraction.name, cell.seed) for cell in found] == [
        ("full", 1),
        ("full", 0),
        ("n50", 1),
        ("n50", 0),
    ]
    assert all(cell.stage.budgets == [] and cell.stage.seeds == [] for cell in found)


def test_encoders_come_before_budgets_and_seeds(composed) -> None:
    words = ("stage=probe", "init=random", "stage.init_seeds=[1,0]", "stage.budgets=[n50]", "stage.seeds=[5,6]")
    found = expand_budgets(composed(*words))
    assert [(cell.init.seed, cell.data_fraction.name, cell.seed) for cell in found] == [
        (1, "n50", 5),
        (1, "n50", 6),
        (0, "n50", 5),
        (0, "n50", 6),
    ]
    assert all(cell.stage.init_seeds == [] for cell in found)


def test_an_encoder_without_a_seed_has_no_list_of_them(composed) -> None:
    with pytest.raises(ConfigError, match=r"stage.init_seeds=\[0, 1\]: init=imagenet has no seed. Remove it."):
        expand_budgets(composed("stage=probe", "init=imagenet", "encoder=resnet18", "stage.init_seeds=[0,1]"))


def test_a_named_encoder_has_no_list_of_seeds(composed) -> None:
    with pytest.raises(ConfigError, match=r"stage.init_seeds=\[0, 1\]: not used with init.run=x. Remove one of them."):
        expand_budgets(composed("stage=probe", "init=pretrained", "init.run=x", "stage.init_seeds=[0,1]"))


def test_random_weights_follow_the_seed_unless_they_have_their_own(composed) -> None:
    runs = [
        *expand_budgets(composed("stage=probe", "init=random", "stage.seeds=[0,1]")),
        composed("stage=probe", "init=random", "seed=1", "init.seed=0"),
    ]
    inits = [build.instantiate_node(validate_config(cfg).init) for cfg in runs]
    assert [init.hash for init in inits] == ["random:0", "random:1", "random:0"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "split"),
        (("data_fraction=n50",), "within"),
        (("data_fraction.samples=75",), "within"),
        (("data_fraction=per_class10",), "within"),
        (("data_fraction=pct1", "data_fraction.validation=split"), "split"),
        (("data_fraction.validation=within",), "within"),
        (("data_fraction.imbalance_factor=10",), "split"),
    ],
)
def test_a_budget_counts_the_labels_of_its_choices(composed, words, expected: str) -> None:
    assert validate_config(composed("stage=probe", *words)).data_fraction.validation == expected


def test_budgets_of_one_command_have_their_own_defaults(composed) -> None:
    found = expand_budgets(composed("stage=probe", "stage.budgets=[50,full]"))
    assert [validate_config(cell).data_fraction.validation for cell in found] == ["within", "split"]
    split = expand_budgets(composed("stage=probe", "stage.budgets=[50,full]", "data_fraction.validation=split"))
    assert [validate_config(cell).data_fraction.validation for cell in split] == ["split", "split"]


def test_runs_within_and_split_are_two_runs(composed) -> None:
    cells = [
        validate_config(composed("stage=probe", "data_fraction=n50", *words))
        for words in ((), ("data_fraction.validation=split",))
    ]
    assert len({compute_config_hash(cell.plain, "d", "o") for cell in cells}) == 2


def test_seeds_alone_keep_the_budget_and_budgets_alone_the_seed(composed) -> None:
    seeds = expand_budgets(composed("stage=probe", "data_fraction=pct10", "stage.seeds=[1,2]"))
    assert [(cell.data_fraction.percent, cell.seed) for cell in seeds] == [(10, 1), (10, 2)]
    budgets = expand_budgets(
        composed("stage=probe", "seed=5", "stage.budgets=[n50]", "data_fraction.strategy=stratified")
    )
    assert [(cell.data_fraction.strategy, cell.seed) for cell in budgets] == [("stratified", 5)]


@pytest.mark.parametrize("stage", ["pretrain", "probe"])
def test_without_any_it_is_the_config_itself(composed, stage: str) -> None:
    cfg = composed(f"stage={stage}")
    assert expand_budgets(cfg)[0] is cfg
    assert len(expand_budgets(cfg)) == 1


def test_the_config_stays_as_it_was(composed) -> None:
    cfg = composed("stage=probe", "stage.budgets=[50]", "stage.seeds=[1]")
    before = OmegaConf.to_yaml(cfg)
    expand_budgets(cfg)
    assert OmegaConf.to_yaml(cfg) == before


def test_every_wrong_budget_is_told(composed) -> None:
    with pytest.raises(ConfigError) as caught:
        expand_budgets(composed("stage=probe", "stage.budgets=[50,half,full,n1.5]"))
    assert [line.partition(":")[0] for line in caught.value.problems] == ["stage.budgets=half", "stage.budgets=n1.5"]
    assert not any("\n" in line for line in caught.value.problems)


def test_bounds_hold_in_every_cell(composed) -> None:
    with pytest.raises(ConfigError, match=r"^stage\.budgets=pct200: expected a number > 0 and <= 100\."):
        expand_budgets(composed("stage=probe", "stage.budgets=[50,pct200]"))


@pytest.mark.parametrize("seeds", ["[[1]]", "[-1]"])
def test_a_wrong_seed_is_told_by_the_key_that_holds_it(composed, seeds: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand_budgets(composed("stage=probe", f"stage.seeds={seeds}"))
    assert caught.value.problems == (
        f"stage.seeds={seeds}: expected a list of integers >= 0 and <= {2**63 - 1}. Correct it.",
    )


@pytest.mark.parametrize("override", ["stage.freeze=0", "trainer.gradient_clip_val=null"])
def test_keys_without_an_effect_leave_the_hash_as_it_was_before_them(composed, override: str) -> None:
    group, key = override.split("=")[0].split(".")
    changed = {"freeze": "stage.freeze=1", "gradient_clip_val": "trainer.gradient_clip_val=1.0"}[key]
    neutral, other = (scientific_config(validate_config(composed(word)).plain) for word in (override, changed))
    assert key not in neutral[group]
    assert other[group].pop(key) == 1
    assert other == neutral
