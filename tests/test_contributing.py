"""CONTRIBUTING.md is a true guide: four additions by its recipes, in a copy of the tree.

One copy takes all four, one after the other: an op with a sequence, a data set of a lab, an encoder that is no ResNet,
and a stage. Then lint, types, the tests that iterate over conf/ and docs/, and real commands pass in the copy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[1]
# What is no part of the tree; the second by its place at the top, since `runs` is also a package.
GENERATED = ("__pycache__", "*.egg-info", ".pytest_cache", ".ruff_cache", ".hypothesis")
GENERATED_AT_TOP = {".git", ".venv", "runs", "site", "dist", "build", "wandb", "outputs", "multirun", "shared"}
QUICK = ("encoder=tiny", "trainer=cpu", "trainer.threads=1", "logger=none")


@dataclass
class Tree:
    """A copy of the repository that additions change.

    Attributes:
        top: its folder.
        touched: the files that the addition under way created or changed.
    """

    top: Path
    touched: set[str] = field(default_factory=set)

    def create(self, name: str, content: str) -> None:
        """Create a file."""
        path = self.top / name
        assert not path.exists(), name
        path.write_text(content, encoding="utf-8")
        self.touched.add(name)

    def append(self, name: str, content: str) -> None:
        """Append to a file."""
        path = self.top / name
        path.write_text(path.read_text(encoding="utf-8") + content, encoding="utf-8")
        self.touched.add(name)

    def insert(self, name: str, before: str, content: str) -> None:
        """Insert a text before the one place where another text stands."""
        path = self.top / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{name}: {before!r} occurs {text.count(before)} times"
        path.write_text(text.replace(before, content + before), encoding="utf-8")
        self.touched.add(name)


def ignore(folder: str, names: list[str]) -> set[str]:
    """The names in a folder that `shutil.copytree` leaves out."""
    found = shutil.ignore_patterns(*GENERATED)(folder, names)
    return found | (GENERATED_AT_TOP if Path(folder) == ROOT else set())


# (a) An augmentation op, and a sequence that uses it.
OP = '''

def posterize(bits: int, p: float) -> Op:
    """Keeps the highest bits of every level, with probability p, independently per image (PIL's posterize)."""
    sample = partial(sample_posterize, p=validate_probability("p", p))
    return Op("posterize", sample, partial(apply_posterize, bits=bits))


def sample_posterize(count: int, height: int, width: int, generator: Generator, *, p: float) -> Parameters:
    """Returns (posterized bool [count],)."""
    return (draw_bernoulli(p, count, generator),)


def apply_posterize(images_BCHW: Tensor, posterized_B: Tensor, bits: int) -> Tensor:
    rows = find_true_rows(posterized_B, images_BCHW.device)
    levels = to_levels(images_BCHW.index_select(0, rows))
    step = 2.0 ** (8 - bits)
    return images_BCHW.index_copy(0, rows, from_levels_(levels.div_(step).floor_().mul_(step)))
'''
SEQUENCE = """\
# Mirror, crop and posterize.
name: coarse
_target_: simclr_med.augment.sequence.Sequence
ops:
  - _target_: simclr_med.augment.geometry.horizontal_flip
    p: 0.5
  - _target_: simclr_med.augment.geometry.random_resized_crop
    scale: [0.08, 1.0]
    ratio: [0.75, 1.3333333333333333]
  - _target_: simclr_med.augment.color.posterize
    bits: 3
    p: 0.2
"""
PIL_OP = """\
def pil_posterize(image: Image.Image, posterized: Tensor, bits: int) -> Image.Image:
    return ImageOps.posterize(image, bits) if posterized else image


"""
OP_TEST = """\
from __future__ import annotations

from simclr_med.augment.color import posterize
from simclr_med.augment.sequence import to_float


def test_posterize_equals_pil(parity, make_pictures, generator):
    images, op = make_pictures(24), posterize(bits=3, p=0.5)
    parameters = op.sample(24, 28, 28, generator)
    assert 0 < int(parameters[0].sum()) < 24
    ours = op.apply(to_float(images), *parameters)
    assert parity.compute_deviation(ours, parity.apply_pil(op, images, parameters)).max() == 0
"""


def add_op(tree: Tree) -> None:
    """Follow the recipes of an augmentation op and of an augmentation sequence."""
    tree.append("src/simclr_med/augment/color.py", OP)
    tree.create("conf/augmentation/coarse.yaml", SEQUENCE)
    tree.insert("benchmarks/parity.py", "PIL_COLOR: dict", PIL_OP)
    tree.create("tests/augment/test_posterize.py", OP_TEST)
    tree.insert("docs/configuration.md", ", `solarize`", ", `posterize`")


# (b) A data set of a lab, without any change of the tree.
DATASET = """\
# Cells of ward 7, in three classes.
defaults: [npz, _self_]
name: ward7
path: {path}
class_names: [healthy, benign, malignant]
"""


def add_dataset(folder: Path) -> None:
    """Follow the recipe of a data set: a file, and a YAML in a folder for --config-dir."""
    generator = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 48), ("val", 16), ("test", 16)):
        labels = np.arange(count)[:, None] % 3
        images = generator.integers(0, 120, (count, 28, 28, 3))
        images[np.arange(count), :, :, labels[:, 0]] += 100
        content |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels.astype(np.uint8)}
    np.savez(folder / "cells.npz", **content)
    (folder / "lab" / "dataset").mkdir(parents=True)
    text = DATASET.format(path=folder / "cells.npz")
    (folder / "lab" / "dataset" / "ward7.yaml").write_text(text, encoding="utf-8")


# (c) An encoder that is no ResNet and no model of torchvision.
ENCODER = '''\
"""An encoder of patches: one convolution of stride 4, and blocks of linear layers on each patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PatchNet(nn.Module):
    """Mean over patches of a small network on each patch.

    Attributes:
        width: D, the number of features.
        mean, std: float [1, 3, 1, 1].
    """

    width = 32
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(map(float, mean))).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(map(float, std))).view(1, 3, 1, 1), persistent=False)
        self.patches = nn.Conv2d(3, self.width, 4, 4)
        self.mixing = nn.Conv2d(self.width, self.width, 3, padding=1)
        self.norm = nn.LayerNorm(self.width)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return features_BD of float images_BCHW in [0, 1]."""
        patches = self.patches((images_BCHW - self.mean) / self.std).relu()
        features: Tensor = self.norm(self.mixing(patches).relu().mean((2, 3)))
        return features

    def layer_groups(self) -> list[list[str]]:
        """Return the names of all parameters in groups, from the input to the output."""
        groups = ("patches.",), ("mixing.", "norm.")
        return [[name for name, _ in self.named_parameters() if name.startswith(group)] for group in groups]

    def feature_map(self) -> list[str]:
        """Return the names of the modules that Grad-CAM can use, from the last to the first."""
        return ["mixing", "patches"]


def patch_net(mean: Sequence[float], std: Sequence[float]) -> PatchNet:
    """A `PatchNet`, randomly initialised from torch's global generator.

    Args:
        mean, std: of each channel of images in [0, 1].
    """
    return PatchNet(mean, std)
'''
ENCODER_YAML = """\
# An encoder that is no ResNet: a small network on patches of 4 x 4 pixels, 32 features.
defaults:
  - /schema/encoder/tiny@_here_
name: patch_net
_target_: simclr_med.models.patch_net.patch_net
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.5, 0.5]
"""


def add_encoder(tree: Tree) -> None:
    """Follow the recipe of an encoder."""
    tree.create("src/simclr_med/models/patch_net.py", ENCODER)
    tree.create("conf/encoder/patch_net.yaml", ENCODER_YAML)


# (d) A stage.
STAGE = '''\
"""Stage describe: the brightness of the images of each split."""

from __future__ import annotations

from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Describe
from simclr_med.data.source import Source
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.types import SPLITS


def describe(run: Run[Config[Describe]], source: Source) -> None:
    """Record the mean level of some splits, in [0, 255]."""
    chosen = [split for split in SPLITS if split in run.cfg.stage.splits]
    with open_stage(run) as frame:
        frame.start_loggers()
        levels = {f"{split}/mean_level": float(source.split(split).images.mean()) for split in chosen}
        rows = {name: f"{level:.1f}" for name, level in levels.items()}
        frame.finish(Outcome(title=f"Images of {run.cfg.dataset.name}", rows=rows, metrics=levels))
'''
STAGE_NODE = """

@node
class Describe(Stage):
    splits: list[str] = MISSING
"""
STAGE_YAML = """\
# @package _global_
# The brightness of the images of each split. It trains nothing.
defaults:
  - /schema/stage/describe@stage
  - override /augmentation: none
  - override /init: random
  - override /logger: none
  - _self_
stage:
  name: describe
  _target_: simclr_med.stages.describe.describe
  unread:                 # groups that this stage ignores, and why
    optimizer: it trains nothing
    schedule: it trains nothing
  splits: [train, val]    # the test split stays closed
"""
STAGE_TEST = """\
from __future__ import annotations


def test_levels_are_recorded(staged, result):
    metrics = result(staged("describe"))["metrics"]
    assert set(metrics) == {"train/mean_level", "val/mean_level"}
    assert all(100 < level < 150 for level in metrics.values())
"""


def add_stage(tree: Tree) -> None:
    """Follow the recipe of a stage."""
    tree.create("src/simclr_med/stages/describe.py", STAGE)
    tree.append("src/simclr_med/config/stage_nodes.py", STAGE_NODE)
    registry = "src/simclr_med/config/registry.py"
    tree.insert(registry, '        "report": stage_nodes.Report,\n', '        "describe": stage_nodes.Describe,\n')
    tree.create("conf/stage/describe.yaml", STAGE_YAML)
    tree.create("tests/stages/test_describe.py", STAGE_TEST)


# The files that each recipe names, and no others.
TOUCHED = {
    "op": {
        "src/simclr_med/augment/color.py",
        "conf/augmentation/coarse.yaml",
        "benchmarks/parity.py",
        "docs/configuration.md",
        "tests/augment/test_posterize.py",
    },
    "encoder": {"src/simclr_med/models/patch_net.py", "conf/encoder/patch_net.yaml"},
    "stage": {
        "src/simclr_med/stages/describe.py",
        "src/simclr_med/config/stage_nodes.py",
        "src/simclr_med/config/registry.py",
        "conf/stage/describe.yaml",
        "tests/stages/test_describe.py",
    },
}
# Tests of the copy: those that iterate over conf/, docs/ or the modules, and those that the additions bring.
SUBSET = (
    "tests/test_architecture.py",
    "tests/test_conf.py",
    "tests/test_docs.py",
    "tests/test_tests.py",
    "tests/augment/test_options.py",
    "tests/augment/test_posterize.py",
    "tests/stages/test_describe.py",
    "tests/stages/test_preview.py",
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree with all additions; beside it `cells.npz` and the folder `lab`."""
    folder = tmp_path_factory.mktemp("additions")
    shutil.copytree(ROOT, folder / "tree", ignore=ignore)
    for name, add in (("op", add_op), ("encoder", add_encoder), ("stage", add_stage)):
        tree = Tree(folder / "tree")
        add(tree)
        assert tree.touched == TOUCHED[name]
    add_dataset(folder)
    return folder


@pytest.fixture
def in_copy(copy: Path) -> Callable[..., str]:
    """Run a command of the copy's own code in the copy, and return what it prints."""

    def run(*words: str, timeout: float = 600) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": str(copy / "tree" / "src"),
            "SIMCLR_MED_RUNS": str(copy / "runs"),
            "XDG_CACHE_HOME": str(copy / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=copy / "tree",
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    return run


@pytest.fixture
def simclr_med(in_copy: Callable[..., str]) -> Callable[..., str]:
    """Run the command line of the copy."""
    return lambda *words: in_copy("simclr_med.cli.main", *words)


@pytest.mark.parametrize(
    "words",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("codespell_lib", "src", "tests", "docs", "conf", "benchmarks", "README.md", "CONTRIBUTING.md"),
        ("mypy", "src"),
    ],
    ids=lambda words: words[0],
)
def test_lint_and_types_pass(in_copy: Callable[..., str], words: tuple[str, ...]) -> None:
    in_copy(*words)


def test_tests_over_options_and_modules_pass(copy: Path, in_copy: Callable[..., str]) -> None:
    present = [name for name in SUBSET if (copy / "tree" / name).is_file()]
    # The default tests try every other option, module and page, on the same code.
    own = {Path(name).stem.removeprefix("test_") for files in TOUCHED.values() for name in files}
    words = ("-m", "not process and not notebook and not slurm", "-k", " or ".join(["not [", *sorted(own)]))
    # The commands of the pages do not change, and the default tests compose them.
    commands = ("--deselect", "tests/test_docs.py::test_command_composes")
    in_copy("pytest", "-q", "-n", "0", *words, *commands, *present)


def test_encoder_keeps_the_contract(in_copy: Callable[..., str]) -> None:
    # The encoders of the tree itself keep it in the default tests.
    in_copy("pytest", "-q", "tests/models/test_encoder_contract.py", "-k", "patch_net")


def test_op_and_sequence_are_used(copy: Path, simclr_med: Callable[..., str]) -> None:
    assert "coarse" in simclr_med("--help")
    simclr_med("stage=preview", "dataset=synthetic", "augmentation=coarse", *QUICK)
    simclr_med("stage=pretrain", "dataset=synthetic", "augmentation=coarse", *QUICK, *short())
    assert len(finished(copy, "pretrain", "synthetic")) == 1


def test_data_set_of_lab_is_used(copy: Path, simclr_med: Callable[..., str]) -> None:
    lab = ("--config-dir", str(copy / "lab"), "dataset=ward7", *QUICK)
    assert "ward7" in simclr_med("--help", "--config-dir", str(copy / "lab"))
    simclr_med(*lab, "stage=pretrain", *short())
    simclr_med(*lab, "stage=probe", "data_fraction=per_class10")
    (result,) = finished(copy, "probe", "ward7")
    assert result["tables"]["classes"] == ["healthy", "benign", "malignant"]


def test_encoder_is_used(copy: Path, simclr_med: Callable[..., str]) -> None:
    own = ("dataset=npz", f"dataset.path={copy / 'cells.npz'}", "encoder=patch_net", *QUICK[1:])
    simclr_med(*own, "stage=pretrain", *short())
    simclr_med(*own, "stage=probe")
    one_epoch = ("stage.epochs=1", "stage.min_steps=0", "schedule.warmup_epochs=0")
    simclr_med(*own, "stage=finetune", "stage.layer_decay=0.5", *one_epoch)
    for stage in ("pretrain", "probe", "finetune"):
        assert len(finished(copy, stage, "cells")) == 1, stage
    (folder,) = (copy / "runs" / "finetune" / "cells").iterdir()
    simclr_med(*own, "stage=predict", f"stage.run={folder}")


def test_stage_is_used(copy: Path, simclr_med: Callable[..., str]) -> None:
    assert "The brightness of the images of each split" in simclr_med("--help")
    simclr_med("stage=describe", "dataset=synthetic")
    (result,) = finished(copy, "describe", "synthetic")
    assert set(result["metrics"]) == {"train/mean_level", "val/mean_level"}


def short() -> tuple[str, ...]:
    """Overrides of a pretraining of one epoch."""
    return "stage.epochs=1", "stage.batch_size=16", "trainer.limit_steps=2"


def finished(copy: Path, stage: str, dataset: str) -> list[dict]:
    """The results of the finished runs of a stage on a data set."""
    paths = sorted((copy / "runs" / stage / dataset).glob("*/result.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]
