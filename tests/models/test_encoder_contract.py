"""Every encoder option fulfils the contract: train, save, load, probe, finetune, predict, Grad-CAM and export."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from torch import nn

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.errors import CheckpointError, ConfigError
from simclr_med.evaluation.gradcam import grad_cam
from simclr_med.models.checkpoints import load_checkpoint
from simclr_med.models.encoder_files import load_encoder_state, load_weights, save_encoder
from simclr_med.models.encoder_hashes import encoder_metadata
from simclr_med.models.encoders import Encoder, is_encoder
from simclr_med.models.heads import linear_head
from simclr_med.models.optimizers import build_layerwise_optimizer, sgd
from simclr_med.runs.run import open_run
from simclr_med.stages.network import build_network

CONF = Path(__file__).parents[2] / "conf" / "encoder"
# Each kind of timm model by its smallest; those of a fixed size get the smallest that fits.
TIMM = [
    "timm encoder.model=test_resnet",
    "timm encoder.model=test_convnext encoder.input_size=128",
    "timm encoder.model=test_vit encoder.input_size=64",
    "timm encoder.model=regnetx_002",
]
OPTIONS = [*sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "timm"), *TIMM, "toy"]
# The whole chain of stages takes seconds for each option: one ResNet stands for all of them.
# The four models of timm differ in no more than the tests of one stage show: the transformer stands for them.
CHAINED = sorted(
    set(OPTIONS)
    - {
        "resnet14",
        "resnet18",
        "resnet18_half_stem",
        "resnet18_small_stem",
        "resnet34",
        "resnet50",
        TIMM[0],
        TIMM[1],
        TIMM[3],
    }
)
QUICK = ("logger=none", "trainer=cpu", "trainer.threads=1", "dataset=npz")


@pytest.fixture
def configured(composed: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose a configuration with the toy options in a folder beside conf/."""
    folder = tmp_path / "conf" / "encoder"
    folder.mkdir(parents=True)
    (folder / "toy.yaml").write_text("name: toy\n_target_: toy_encoder.toy\nwidth: 20\n")
    (folder / "wrong.yaml").write_text("name: wrong\n_target_: toy_encoder.not_an_encoder\n")
    own = (f"hydra.searchpath=[file://{folder.parent}]", f"paths.own=[{folder.parent}]", "allow_code=true")
    return partial(composed, *own)


@pytest.fixture
def built(configured: Callable[..., DictConfig]) -> Callable[..., Encoder]:
    """Build the encoder of an option, as a run does, or without the speed-ups."""

    def make(option: str, seed: int = 0, speedups: bool = True) -> Any:
        node = configured(*f"encoder={option}".split()).encoder
        if speedups:
            return build_network(node, seed)
        torch.manual_seed(seed)
        return build.instantiate_node(node)

    return make


def images(count: int, size: int = 28) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def train_step(encoder: Encoder) -> dict[str, float]:
    """Train one step with layer decay 0.5 from rate 0.1; return the learning rate of each parameter."""
    head = linear_head(encoder.width, 3)
    named = [*encoder.named_parameters(), *((f"head.{name}", p) for name, p in head.named_parameters())]
    make = partial(sgd, lr=0.1, momentum=0.9, weight_decay=0.0, decay_norm_and_bias=True)
    optimizer = build_layerwise_optimizer(make, named, decay=0.5, groups=encoder.layer_groups())
    nn.functional.cross_entropy(head(encoder.train()(images(4))), torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    optimizer.step()
    names = {parameter: name for name, parameter in encoder.named_parameters()}
    rates = {names.get(p, "classifier"): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates.pop("classifier") == 0.1
    return rates


@pytest.mark.parametrize("option", OPTIONS)
def test_train_save_and_load(built: Callable[..., Any], option: str, tmp_path: Path) -> None:
    encoder, path = built(option), tmp_path / "encoder.safetensors"
    assert is_encoder(encoder)
    rates, groups = train_step(encoder), encoder.layer_groups()
    assert len(groups) >= 2
    assert sum(map(len, groups)) == len(rates)
    assert rates == {
        name: pytest.approx(0.1 * 0.5 ** (len(groups) - depth)) for depth, group in enumerate(groups) for name in group
    }
    save_encoder(path, encoder, {"config_hash": "abc"})
    with safetensors.safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["encoder"])["name"] == option.split()[0]
        assert set(file.keys()) == set(encoder.state_dict())
    fresh = built(option, seed=1)
    assert not torch.equal(fresh.eval()(images(2)), encoder.eval()(images(2)))
    assert load_weights(fresh, load_encoder_state(path)).startswith(option.split()[0])
    features = fresh(images(2))
    assert features.shape == (2, encoder.width)
    assert torch.equal(features, encoder(images(2)))


@pytest.mark.parametrize("option", CHAINED)
def test_a_training_checkpoint_loads(built: Callable[..., Any], option: str, tmp_path: Path) -> None:
    encoder, path = built(option), tmp_path / "last.ckpt"
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    torch.save({"state_dict": state, "encoder_metadata": encoder_metadata(encoder)}, path)
    fresh = built(option, seed=1)
    load_weights(fresh, load_encoder_state(path))
    assert torch.equal(fresh.eval()(images(2)), encoder.eval()(images(2)))


@pytest.mark.parametrize("option", OPTIONS)
def test_grad_cam(built: Callable[..., Any], option: str) -> None:
    pytest.importorskip("captum", reason="the extra analyse is not installed")
    torch.manual_seed(0)
    encoder = built(option).eval()
    heat_Bhw, layer = grad_cam(encoder, linear_head(encoder.width, 3), images(2), torch.tensor([0, 2]))
    assert layer in encoder.feature_map()
    assert heat_Bhw.ndim == 3
    assert len(heat_Bhw) == 2
    assert 4 <= min(heat_Bhw.shape[1:]) <= 28
    assert 0 <= heat_Bhw.min() <= heat_Bhw.max() <= 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in (TIMM[0], TIMM[1], TIMM[3])])
def test_export_with_a_dynamic_batch(built: Callable[..., Any], option: str) -> None:
    """The constructor applies no speed-up: these make torch.export fail on ``len(input) < 32``."""
    encoder = built(option, speedups=False).eval()
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(encoder, (images(3),), dynamic_shapes=dynamic)
    for count in (2, 5):
        torch.testing.assert_close(program.module()(images(count)), encoder(images(count)))


@pytest.fixture
def run_stage(
    configured: Callable[..., DictConfig], shared_cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Run one stage on the cells, with figures of few pixels, and return the run's folder."""
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, target: save(figure, target, dpi=20))

    def run(stage: str, *overrides: str) -> Path:
        data = (f"dataset.path={shared_cells}", f"paths.runs={tmp_path / 'runs'}")
        cfg = validate_config(configured(f"stage={stage}", *QUICK, *data, *overrides))
        source = build.build_source(cfg)
        with open_run(cfg, source.content_hash(), build.instantiate_node(cfg.init)) as opened:
            build.import_stage(cfg)(opened, source)
            return opened.folder

    return run


@pytest.mark.parametrize("option", CHAINED)
def test_stages_from_pretraining_to_predictions(
    run_stage: Callable[..., Path], built: Callable[..., Any], option: str
) -> None:
    encoder, epoch = f"encoder={option}".split(), ("stage.epochs=1", "stage.batch_size=8", "trainer.limit_steps=1")
    run_stage("pretrain", *encoder, *epoch)
    probe = run_stage("probe", *encoder, "stage.resamples=0", "stage.solvers.logistic.points=2")
    finetune = run_stage(
        *("finetune", *encoder, *epoch, "stage.resamples=0", "stage.layer_decay=0.5"),
        *("schedule.warmup_epochs=0", "keep=all", "optimizer.lr=0.01"),
    )
    saved = load_checkpoint(finetune / "checkpoints" / "last.ckpt")
    rates = {group["initial_lr"] for group in saved["optimizer_states"][0]["param_groups"]}
    depth = len(built(option).layer_groups())
    assert sorted(rates, reverse=True) == pytest.approx([0.01 * 0.5**step for step in range(depth + 1)])
    for model in (probe, finetune):
        table = run_stage("predict", f"stage.run={model}") / "predictions.csv"
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 40 + 16 + 12
        for row in rows:
            probabilities = [float(value) for name, value in row.items() if name.startswith("probability/")]
            assert sum(probabilities) == pytest.approx(1, abs=1e-4)


def test_grad_cam_of_a_run_that_is_no_resnet(run_stage: Callable[..., Path]) -> None:
    if importlib.util.find_spec("captum") is None:
        pytest.skip("the extra analyse is not installed")
    model = run_stage("probe", "encoder=toy", "init=random", "stage.resamples=0", "stage.solvers.logistic.points=2")
    folder = run_stage("analyse", "init=model", f"stage.run={model}", "stage.points=12", "stage.perplexities=[3]")
    assert (folder / "figures" / "gradcam.png").is_file()


def test_weights_of_another_option_are_one_line(built: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, built("toy"), {})
    with pytest.raises(CheckpointError) as caught:
        load_weights(built("tiny"), load_encoder_state(path))
    assert str(caught.value) == (
        f"checkpoint={path}: expected weights of tiny, found those of toy (width=20). "
        "Use encoder=toy, with the same arguments."
    )


def test_a_target_that_breaks_the_contract_is_one_line(built: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"encoder=wrong: toy_encoder\.not_an_encoder returns no encoder"):
        built("wrong")
