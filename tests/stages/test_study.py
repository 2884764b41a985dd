"""What a study does for one data set: its steps, their words, and what of its own command line goes where."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import DictConfig

from simclr_med.config.validate import find_problems, validate_config
from simclr_med.errors import ConfigError, DataError, RunError
from simclr_med.runs.identity import Init
from simclr_med.runs.run import open_run
from simclr_med.stages import study as study_module
from simclr_med.stages import study_states
from simclr_med.stages.study_foundation import check_weights
from simclr_med.stages.study_plan import describe_design, plan_steps
from simclr_med.stages.study_states import read_states, share_left
from simclr_med.stages.study_steps import Step, shared_overrides

TYPED = [
    "stage=study",
    "stage.epochs=5",
    "dataset=synthetic",
    "augmentation=simclr",
    "+seed=3",
    "encoder=tiny",
    "overwrite=true",
]


def test_the_words_of_the_stage_stay_with_the_study() -> None:
    assert shared_overrides(TYPED) == ["dataset=synthetic", "augmentation=simclr", "+seed=3", "encoder=tiny"]
    assert shared_overrides(TYPED, without=("augmentation", "seed")) == ["dataset=synthetic", "encoder=tiny"]


@pytest.mark.parametrize("word", ["init=imagenet", "overwrite=true"])
def test_words_without_an_effect_on_its_steps_are_errors(composed: Callable[..., DictConfig], word: str) -> None:
    more = ["encoder=resnet18"]
    (problem,) = find_problems(composed("stage=study", "dataset=synthetic", *more, word), [*more, word])
    assert problem.startswith(f"{word}: not used by stage=study (")


def test_every_step_composes_and_looks_for_the_encoder_that_was_made(composed: Callable[..., DictConfig]) -> None:
    words = ["stage=study", "dataset=synthetic", "augmentation=simclr", "seed=3", "encoder=tiny", "stage.epochs=5"]
    cfg = validate_config(composed(*words))
    steps = plan_steps(cfg, words, images=2000)
    found = [validate_config(composed(*step.overrides)) for step in steps]
    names = ["audit", "pretrain", "pretrain", "pretrain", "probe", "probe", "finetune", "baseline", "report"]
    assert [one.stage.name for one in found] == names
    assert [step.is_required for step in steps] == [name == "pretrain" for name in names]
    assert found[0].dataset.name == "synthetic"
    del found[0]
    assert [one.seed for one in found[:3]] == [3, 4, 5]
    assert all((one.augmentation.name, one.stage.epochs) == ("simclr", 5) for one in found[:3])
    for one in (found[3], found[5]):
        assert (one.init.name, one.init.augmentation) == ("pretrained", "simclr")
        assert one.augmentation.name != "simclr"
    assert found[4].init.name == found[6].init.name == "random"
    assert [list(one.stage.init_seeds) for one in found[3:7]] == [[3, 4, 5], [3, 4, 5], [3, 4, 5], []]
    assert [list(one.stage.seeds) for one in found[3:7]] == [[0, 1, 2, 3, 4]] * 2 + [[0, 1, 2]] * 2
    assert all(one.encoder.name == "tiny" for one in found[:7])
    assert [(one.stage.epochs, one.stage.min_steps) for one in found[5:7]] == [(100, 500)] * 2


def test_batch_size_and_temperature_are_those_of_pretraining(composed: Callable[..., DictConfig]) -> None:
    words = ["stage=study", "stage.batch_size=64", "stage.temperature=0.1"]
    for chosen, expected in ((words, (64, 0.1)), (words[:1], (256, 0.07))):
        steps = plan_steps(validate_config(composed(*chosen)), chosen, images=2000)
        found = [validate_config(composed(*step.overrides)).stage for step in steps]
        assert [(one.batch_size, one.temperature) for one in found[1:4]] == [expected] * 3
        assert [one.batch_size for one in found[6:8]] == [128] * 2


def test_where_the_choices_come_from_is_for_the_steps_with_labels_and_other_fractions_for_pretraining(
    composed: Callable[..., DictConfig],
) -> None:
    words = ["stage=study", "data_fraction=n500", "data_fraction.validation=split"]
    steps = plan_steps(validate_config(composed(*words)), words, images=2000)
    found = [validate_config(composed(*step.overrides), step.overrides) for step in steps]
    assert [one.data_fraction.name for one in found] == ["full"] + ["n500"] * 3 + ["full"] * 5
    assert [one.data_fraction.validation for one in found[4:8]] == ["split"] * 4


def test_the_plan_says_what_fewer_encoders_and_seeds_can_conclude(composed: Callable[..., DictConfig]) -> None:
    def told(*words: str) -> str:
        cfg = validate_config(composed("stage=study", *words))
        return "\n".join(describe_design(cfg.stage, plan_steps(cfg, ["stage=study"], 1000), rate=1000.0))

    assert told() == (
        "With 3 encoders, the verdicts are about the method. stage.encoders=1 is cheaper (about 0:13:03 in all instead "
        "of 0:28:35); its report describes only that encoder."
    )
    one = "With one encoder, the report describes this encoder and not the method."
    assert told("stage.encoders=1").startswith(one)
    assert told("stage.repeats=[0,1]").endswith(
        "With fewer than 3 seeds, the report shows the values, without intervals and verdicts."
    )


@pytest.mark.parametrize(
    ("images", "curve"), [(40, ["full"]), (101, [50, 100, "full"]), (2000, [50, 100, 250, "full"])]
)
def test_budgets_that_the_data_cannot_fill_are_left_out(
    composed: Callable[..., DictConfig], images: int, curve: list
) -> None:
    steps = plan_steps(validate_config(composed("stage=study")), ["stage=study"], images)
    assert list(validate_config(composed(*steps[4].overrides)).stage.budgets) == curve


def test_a_budget_that_is_left_out_is_told_in_whatever_form_it_was_asked_for(
    composed: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["stage=study", "stage.curve=[n50,pct10,per_class5,n5000,60]", "stage.supervised=[100]"]
    steps = plan_steps(validate_config(composed(*words)), words, images=60)
    assert list(validate_config(composed(*steps[4].overrides)).stage.budgets) == ["n50", "pct10", "per_class5"]
    assert capsys.readouterr().out.splitlines() == [
        f"stage.{key} is not less than the 60 training images: left out."
        for key in ("curve=n5000", "curve=60", "supervised=100")
    ]
    assert [step.name for step in steps] == [
        "audit of the data",
        "pretrain, seed 0",
        "pretrain, seed 1",
        "pretrain, seed 2",
        "probe of the encoders",
        "probe of untrained encoders",
        "report",
    ]


def test_wrong_budgets_and_no_seed_are_told_before_anything_is_done(composed: Callable[..., DictConfig]) -> None:
    none = ["stage.repeats=[]", "stage.probe_repeats=[]"]
    words = ["stage=study", "stage.curve=[foo,1.5]", "stage.supervised=[bar]", *none]
    with pytest.raises(ConfigError) as caught:
        plan_steps(validate_config(composed(*words)), words, images=60)
    starts = [problem.partition(":")[0] for problem in caught.value.problems]
    assert starts == ["stage.curve=foo", "stage.curve=1.5", "stage.supervised=bar", *none]


def test_wrong_words_of_a_step_are_told_before_the_first_begins() -> None:
    steps = [Step("one", ("stage=pretrain", "stage.epochs=0")), Step("two", ("stage=baseline", "stage.epochs=0"))]
    with pytest.raises(ConfigError) as caught:
        read_states(steps)
    assert any(problem.startswith("stage.epochs=0: expected an integer >= 1") for problem in caught.value.problems)
    assert len(set(caught.value.problems)) == len(caught.value.problems)


@pytest.fixture
def pretrained(composed: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., Path]:
    """Write a finished pretraining run and return its folder."""

    def write(*words: str) -> Path:
        cfg = validate_config(composed("stage=pretrain", "encoder=tiny", f"paths.runs={tmp_path}", *words))
        with open_run(cfg, "d", Init("random", "random")) as run:
            run.finish({}, {}, {})
        return run.folder

    return write


def test_other_encoders_with_the_fields_of_the_studys_own_end_it_before_the_first_step(
    composed: Callable[..., DictConfig],
    pretrained: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, other = pretrained("stage.epochs=5", "seed=1"), pretrained("stage.epochs=7", "seed=1")
    for word in ("seed=5", "augmentation=light", "encoder=resnet14", "dataset.size=64", "dataset.exclude=twins.csv"):
        pretrained("stage.epochs=7", word)
    words = ["stage=study", "encoder=tiny", f"paths.runs={tmp_path}"]
    steps = plan_steps(validate_config(composed(*words)), words, images=2000)
    trained = {step.name: set(step.similar) for step in steps if step.similar}
    assert trained == {"pretrain, seed 1": {own, other}}
    (step,) = (step for step in steps if step.similar)
    listed = f"finished    {own}"
    monkeypatch.setattr(
        study_states, "capture_command", lambda argv: subprocess.CompletedProcess(argv, 0, listed, "not said")
    )
    with pytest.raises(RunError, match=r"Choose another paths\.runs, or delete them with simclr-med runs rm:") as error:
        read_states([step])
    assert error.value.problems[1:] == (f"  {other}",)
    shutil.rmtree(other)
    (step,) = (step for step in plan_steps(validate_config(composed(*words)), words, images=2000) if step.similar)
    assert read_states([step]) == [["finished"]]


def test_continued_encoders_are_found_by_their_model(
    composed: Callable[..., DictConfig], pretrained: Callable[..., Path], tmp_path: Path
) -> None:
    timm = ("encoder=timm", "init=timm", "stage.epochs=7")
    other, _ = (pretrained(*timm, f"encoder.model={name}") for name in ("resnet10t.c3_in1k", "resnet18.a1_in1k"))
    words = ["stage=study", f"paths.runs={tmp_path}", "stage.encoders=1"]
    asked = ["stage.foundation=[resnet10t.c3_in1k]", "stage.continue_pretraining=true"]
    steps = plan_steps(validate_config(composed(*words, *asked)), words, images=2000)
    assert {step.name: step.similar for step in steps if step.similar} == {
        "continue resnet10t.c3_in1k, seed 0": (other,)
    }


def test_a_step_that_would_fail_is_told_before_the_first_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess((), 1, "", "init.run=a: encoder.safetensors is missing.\n")
    monkeypatch.setattr(study_states, "capture_command", lambda argv: done)
    with pytest.raises(RunError) as error:
        read_states([Step("one", ("a",)), Step("two", ("b",))])
    assert error.value.problems == ("init.run=a: encoder.safetensors is missing.",)


@pytest.mark.parametrize("more", [["experiment=vit"], ["schedule.warmup_epochs=5"], ["schedule=constant"], []])
def test_the_command_that_is_timed_has_no_warmup(composed: Callable[..., DictConfig], more: list[str]) -> None:
    words = ["stage=study", "encoder=tiny", *more]
    timed = study_module.timing_overrides(validate_config(composed(*words)), words)
    cfg = validate_config(composed(*timed), timed)
    assert (cfg.stage.name, cfg.stage.epochs, cfg.trainer.limit_steps) == ("pretrain", 1, 6)


def test_what_is_finished_is_no_time_to_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {
        "a": "finished    /runs/a",
        "b": "finished    /runs/b\npending     /runs/c",
        "c": "no encoder  init=pretrained: no finished run fits.",
    }
    monkeypatch.setattr(
        study_states, "capture_command", lambda argv: subprocess.CompletedProcess(argv, 0, said[argv[0]], "")
    )
    steps = [
        Step("one", ("a",), 1000),
        Step("two", ("b",), 1000),
        Step("three", ("c",), 0),
        Step("four", ("a",), 0, True),
    ]
    states = read_states(steps)
    assert states == [["finished"], ["finished", "pending"], ["pending"], ["finished"]]
    assert [share_left(found) for found in states] == [0, 0.5, 1, 0]
    study_states.print_plan(steps, states, rate=10.0)
    message = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in message] == [
        ["one", "1 finished", "0:00:00"],
        ["two", "1 finished, 1 pending", "0:00:55"],
        ["three", "1 pending", "0:00:10"],
        ["four", "runs again", "0:00:10"],
        ["all", "", "0:01:15"],
    ]


def test_data_without_labels_is_refused_before_the_encoder_is_made(composed: Callable[..., DictConfig]) -> None:
    run, source = (
        SimpleNamespace(cfg=validate_config(composed("stage=study"))),
        SimpleNamespace(task=None, name="scans"),
    )
    with pytest.raises(DataError, match="dataset=scans: labels are required for stage=study"):
        study_module.study(run, source)  # type: ignore[arg-type]


def test_a_longer_pretraining_is_told_to_take_longer(composed: Callable[..., DictConfig]) -> None:
    short, long = (
        plan_steps(validate_config(composed("stage=study", f"stage.epochs={n}")), [], 100)[1] for n in (10, 20)
    )
    assert (short.images, long.images) == (1000, 2000)


def test_every_step_gets_the_folders_of_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [SimpleNamespace(provider=name, path=f"/{name}") for name in ("hydra", "main", "command-line", "schema")]
    searched = "hydra.searchpath=['file:///more']"
    hydra = SimpleNamespace(
        runtime=SimpleNamespace(config_sources=sources), overrides=SimpleNamespace(hydra=["hydra.mode=RUN", searched])
    )
    monkeypatch.setattr(study_states, "HydraConfig", SimpleNamespace(get=lambda: hydra))
    flags = study_states.own_folders()
    assert flags == ["--config-dir", "/command-line", searched]
    called: list[tuple[str, ...]] = []

    def capture(argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        called.append(argv)
        return subprocess.CompletedProcess(argv, 0, "pending     /runs/a", "")

    monkeypatch.setattr(study_states, "capture_command", capture)
    study_states.read_states([Step("one", ("a=b",))], flags)
    assert called == [(*flags, "a=b", "dry_run=true")]


def test_pretrained_models_of_timm_are_probed_frozen_and_after_continued_pretraining(
    composed: Callable[..., DictConfig],
) -> None:
    words = ["stage=study", "encoder=tiny", "encoder.mean=[0.4,0.4,0.4]", "augmentation=simclr", "seed=3"]
    asked = ["stage.foundation=[resnet10t.c3_in1k]", "stage.curve=[50]", "stage.supervised=[]", "stage.encoders=2"]
    cfg = validate_config(composed(*words, *asked, "stage.continue_pretraining=true"))
    steps = plan_steps(cfg, words, images=2000)[5:-1]
    assert [(step.name, step.images, step.encoders) for step in steps] == [
        ("probe of frozen resnet10t.c3_in1k", None, 1),
        ("continue resnet10t.c3_in1k, seed 3", None, 1),
        ("continue resnet10t.c3_in1k, seed 4", None, 1),
        ("probe of continued resnet10t.c3_in1k", None, 2),
    ]
    assert not any(step.is_required for step in steps)
    frozen, first, second, continued = (validate_config(composed(*step.overrides), step.overrides) for step in steps)
    for one in (frozen, first, second, continued):
        assert (one.encoder.model, one.encoder.input_size, one.encoder.mean) == ("resnet10t.c3_in1k", 224, None)
    assert (frozen.init.name, frozen.init.model, list(frozen.stage.budgets)) == ("timm", "resnet10t.c3_in1k", [50])
    assert [(one.init.name, one.seed, one.augmentation.name) for one in (first, second)] == [
        ("timm", 3, "simclr"),
        ("timm", 4, "simclr"),
    ]
    assert (continued.init.start, continued.init.augmentation) == ("timm", "simclr")
    assert continued.init.model == "resnet10t.c3_in1k"
    assert list(continued.stage.init_seeds) == [3, 4]
    alone = validate_config(composed(*words, *asked, "stage.foundation_size=null"))
    (step,) = plan_steps(alone, words, images=2000)[5:-1]
    assert "encoder.model=resnet10t.c3_in1k" in step.overrides
    assert not [word for word in step.overrides if word.startswith("encoder.input_size")]


@pytest.mark.parametrize(
    ("model", "words", "rate", "warmup"),
    [
        ("convnext_atto.d2_in1k", [], 5e-4, 5),
        ("vit_tiny_patch16_224.augreg_in21k", ["optimizer.lr=1e-5"], 1e-5, 5),
        ("vit_tiny_patch16_224.augreg_in21k", ["optimizer=adamw"], 5e-4, 0),
        ("resnet10t.c3_in1k", [], 5e-4, 0),
    ],
)
def test_models_without_batch_norm_continue_with_the_optimizer_of_transformers(
    composed: Callable[..., DictConfig], model: str, words: list[str], rate: float, warmup: int
) -> None:
    asked = ["stage.curve=[50]", "stage.supervised=[]", "stage.encoders=1", "stage.continue_pretraining=true"]
    study = ["stage=study", *words]
    cfg = validate_config(composed(*study, *asked, f"stage.foundation=[{model}]"))
    start = next(step for step in plan_steps(cfg, study, images=2000) if step.name.startswith("continue"))
    found = validate_config(composed(*start.overrides), start.overrides)
    assert (found.optimizer.lr, found.schedule.warmup_epochs) == (rate, warmup)


def test_a_step_is_left_out_if_an_earlier_one_that_it_needs_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Step("one", ("a",)), Step("two", ("b",), needs=("one",)), Step("three", ("c",), needs=("zero",))]
    called: list[list[str]] = []

    def call(words: list[str]) -> int:
        called.append(words)
        return int(words == ["a"])

    assert study_module.call_steps(steps, (), call) == ["one", "two"]
    assert called == [["a"], ["c"]]
    assert "Step 2 of 3: two\nLeft out: it needs one.\n" in capsys.readouterr().out


def test_wrong_names_of_models_are_told_before_anything_is_done(composed: Callable[..., DictConfig]) -> None:
    words = ["stage=study", "stage.foundation=[resnet50,resnet50,.a]"]
    with pytest.raises(ConfigError) as caught:
        plan_steps(validate_config(composed(*words)), words, images=60)
    first, second, third = caught.value.problems
    assert first.startswith("stage.foundation=resnet50: expected <model>.<tag>")
    assert second == "stage.foundation=resnet50: named 2 times. Keep one."
    assert third.startswith("stage.foundation=.a: expected <model>.<tag>")
    words = ["stage=study", "stage.continue_pretraining=true"]
    with pytest.raises(ConfigError, match="there is no model to continue from"):
        plan_steps(validate_config(composed(*words)), words, images=60)


def test_missing_weights_of_models_are_told_before_the_first_step(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra timm is not installed")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    stage = validate_config(composed("stage=study", "stage.foundation=[resnet10t.c3_in1k,resnet18.a1_in1k]")).stage
    with pytest.raises(RunError) as caught:
        check_weights(stage)
    assert [problem.split(" is not in ")[0] for problem in caught.value.problems] == [
        f"stage.foundation={name}: model.safetensors of timm/{name}"
        for name in ("resnet10t.c3_in1k", "resnet18.a1_in1k")
    ]


def test_the_time_of_other_networks_is_not_estimated(capsys: pytest.CaptureFixture[str]) -> None:
    study_states.print_plan([Step("one", (), 1000), Step("two", (), None)], [["pending"], ["pending"]], rate=10.0)
    printed = capsys.readouterr().out
    assert "not known" in printed
    assert printed.count("0:01:50") == 2  # of the first step, and of all


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_step_does_not_end_the_study(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    own = tmp_path / "own" / "augmentation" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("defaults:\n  - light\n  - _self_\nname: mine\n")
    words = [
        *("--config-dir", str(tmp_path / "own"), "stage=study", "dataset=synthetic"),
        *("encoder=tiny", "augmentation=mine", "stage.epochs=1", "schedule.warmup_epochs=0"),
        *("stage.encoders=1", "stage.curve=[50]", "stage.supervised=[]", "stage.probe_repeats=[0]"),
        *("trainer=cpu", "trainer.threads=2", "stage.timed_steps=0"),
    ]
    environment = {**os.environ, "SIMCLR_MED_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "2"}
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", "simclr_med", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as study:
        assert study.stdout is not None
        assert study.stderr is not None
        for line in study.stdout:
            lines.append(line.rstrip())
            if line.startswith("Step 3 of 5: probe of the encoders"):
                os.kill(_only_child(study.pid), signal.SIGKILL)
        message = study.stderr.read()
    assert study.returncode == 1
    assert message.splitlines()[-1] == "stage=study: failed steps: probe of the encoders. The same command resumes."
    order = [line for line in lines if line.startswith(("Step ", "Audit of", "Pretraining on", "Probe ", "Report on"))]
    assert [line.split(":")[0] for line in order] == [
        "Step 1 of 5",
        "Audit of synthetic",
        "Step 2 of 5",
        "Pretraining on synthetic",
        "Step 3 of 5",
        "Step 4 of 5",
        "Probe on synthetic",
        "Step 5 of 5",
        "Report on 1 data set",
    ]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Already finished, skipping") == 3
    assert len(list(tmp_path.glob("runs/probe/synthetic/*/result.json"))) == 2


def _only_child(pid: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            (child,) = children
            return int(child)
        time.sleep(0.01)
    raise AssertionError("no step was started")
