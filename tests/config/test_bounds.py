"""Numbers and lists that no library could use are refused before anything runs."""

from __future__ import annotations

import pytest

from simclr_med.cli.arguments import parse_argv
from simclr_med.config.validate import find_problems
from simclr_med.errors import ConfigError

BASE = ("stage=pretrain", "dataset=synthetic")
HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (f"stage.epochs={HUGE}", "expected an integer >= 1 and <= 2147483647"),
        (f"stage.knn.k={HUGE}", "expected an integer >= 1 and <= 2147483647"),
        (f"seed={HUGE}", "expected an integer >= 0 and <= 9223372036854775807"),
        ("stage.head.out=99999999999", "expected an integer >= 2 and <= 65536"),
        ("stage.temperature=1e-320", "expected 0 or an absolute value from 1e-30 to 1e+30"),
        ("optimizer.lr=1e300", "expected 0 or an absolute value from 1e-30 to 1e+30"),
        ("encoder.mean=[nan,0,0]", "expected a list of finite numbers"),
        ("encoder.mean=[[1],2,3]", "expected a list of finite numbers"),
        ("encoder.std=[inf,1,1]", "expected a list of finite numbers"),
        ("augmentation.ops=[1]", "expected mappings with _target_"),
        ("logger.loggers=[{a:1}]", "expected mappings with _target_"),
        ("trainer.strategy=nope", "expected auto or ddp or ddp_spawn"),
        ("trainer.strategy=[a]", "expected auto or ddp or ddp_spawn"),
        ("stage.folder=../x", "expected the name of one folder"),
        ("stage.freeze=-1", "expected a number of layer groups >= 0, or a list of layers"),
        ("stage.freeze=1.5", "expected a number of layer groups >= 0, or a list of layers"),
        ("stage.freeze=true", "expected a number of layer groups >= 0, or a list of layers"),
        ("stage.freeze=conv1", "expected a number of layer groups >= 0, or a list of layers"),
        ("stage.freeze=[1]", "expected a number of layer groups >= 0, or a list of layers"),
        ("trainer.gradient_clip_val=0", "expected a number > 0"),
        ("trainer.energy=Germany", "expected a country by three capital letters"),
    ],
)
def test_values_that_no_library_takes(composed, override: str, expected: str) -> None:
    (problem,) = find_problems(composed(*BASE, override))
    assert problem.startswith(f"{override.split('=')[0]}=")
    assert expected in problem


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("trainer.gradient_clip_val=1", "trainer.precision=16-mixed"),
            "not available with trainer.precision=16-mixed",
        ),
        (("stage.freeze=1", "trainer.cuda_graphs=true"), "trainer.cuda_graphs=true: not available with stage.freeze=1"),
    ],
)
def test_keys_that_exclude_each_other(composed, overrides: tuple[str, ...], message: str) -> None:
    (problem,) = find_problems(composed(*BASE, *overrides))
    assert message in problem
    assert find_problems(composed(*BASE, overrides[0])) == []


@pytest.mark.parametrize("values", ["[0.5,0.2]", "[-1]", "[2]", "[5,-1]"])
@pytest.mark.parametrize(
    ("key", "base"),
    [
        ("schedule.milestones", (*BASE, "schedule=multistep")),
        ("stage.solvers.sgd.milestones", ("stage=probe", "init=random")),
    ],
)
def test_milestones_are_increasing_fractions(composed, key: str, base: tuple[str, ...], values: str) -> None:
    (problem,) = find_problems(composed(*base, f"{key}={values}"))
    assert problem.startswith(f"{key}=")
    assert "expected fractions of the training in (0, 1), in increasing order" in problem


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        ("probe", "stage.solvers.logistic"),
        ("audit", "stage.classifier"),
        ("select", "stage.methods_with_labels.probe"),
    ],
)
def test_lowest_strength_is_below_the_highest(composed, stage: str, key: str) -> None:
    words = (f"stage={stage}", "init=random", f"{key}.lowest=10", f"{key}.highest=2")
    (problem,) = find_problems(composed(*words))
    assert problem == f"{key}.lowest=10.0: expected at most highest=2.0. Exchange the two."


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("stage=probe", "stage.seeds=[0,-1]"), f"a list of integers >= 0 and <= {2**63 - 1}"),
        (("stage=study", "stage.repeats=[-1]"), f"a list of integers >= 0 and <= {2**63 - 1}"),
        (("stage=select", "stage.rounds=[-1,50]"), "increasing numbers of images >= 2, such as [50,100,250]"),
        (("stage=select", f"stage.rounds=[50,{HUGE}]"), "a list of integers <= 2147483647"),
    ],
)
def test_lists_of_integers_name_their_own_limits(composed, overrides: tuple[str, ...], expected: str) -> None:
    (problem,) = find_problems(composed(*overrides))
    assert f": expected {expected}. " in problem


@pytest.mark.parametrize("name", ["n" * 61, "mine-", "a b"])
def test_names_in_paths_have_the_characters_that_the_message_names(composed, name: str) -> None:
    (problem,) = find_problems(composed(*BASE, f"dataset.name='{name}'"))
    assert problem.startswith(f"dataset.name={name}: expected at most 60 letters, digits, underscores, dots and dashes")
    assert find_problems(composed(*BASE, "dataset.name=my_set-2.0")) == []


@pytest.mark.parametrize(
    ("key", "switch"),
    [("stage.family=blood", "stage.corruptions=true"), ("stage.ood_neighbours=10", "stage.ood=[synthetic]")],
)
def test_keys_of_a_check_need_the_check(composed, key: str, switch: str) -> None:
    words = ("stage=test", "stage.run=x")
    (problem,) = find_problems(composed(*words, key), [key])
    assert problem == f"{key}: not used by stage=test (it needs {switch.partition('=[')[0]}). Remove it."
    assert find_problems(composed(*words, key, switch), [key, switch]) == []


@pytest.mark.parametrize("override", ["seed=18446744073709551", "optimizer.weight_decay=0", "stage.epochs=1000000"])
def test_unusual_values_are_valid(composed, override: str) -> None:
    assert find_problems(composed(*BASE, override)) == []


@pytest.mark.parametrize("override", ["stage=[pretrain,probe]", "+optimizer=[adam]"])
def test_list_of_options_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"expected one option, found a list. Use -m \w+=a,b to run one job for each"):
        parse_argv([override])
