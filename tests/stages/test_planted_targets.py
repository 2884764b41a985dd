"""A run folder of somebody else: whatever its config.yaml names, nothing of it is called."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from run_folders import forget_hashes

from simclr_med.config.targets import find_targets
from simclr_med.errors import CheckpointError, ConfigError
from simclr_med.stages.saved_model import load_saved_model
from simclr_med.stages.saved_run import check_targets

FAST = ("stage.resamples=0", "stage.solvers.logistic.points=2")
STAGES = {
    "test": (),
    "predict": (),
    "analyse": ("init=model", "stage.points=12", "stage.perplexities=[3]"),
}


class Planted:
    """An object whose unpickling makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.mkdir, (self.marker,)


def planted_nodes(folder: Path, marker: Path) -> list[dict[str, Any]]:
    """Nodes whose call makes the marker, by reading, writing, importing or starting a process."""
    for name in ("evil.pkl", "evil.pt"):
        (folder / name).write_bytes(pickle.dumps(Planted(marker)))
    np.save(folder / "evil.npy", np.array([Planted(marker)], dtype=object), allow_pickle=True)
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    load = {"_target_": "numpy.load", "file": str(folder / "evil.npy"), "allow_pickle": True}
    path = {"_target_": "pathlib.Path", "_args_": [str(marker)]}
    return [
        load,
        {"_target_": "joblib.load", "filename": str(folder / "evil.pkl")},
        {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(folder / "evil.pkl")},
        {"_target_": "torch.load", "f": str(folder / "evil.pt"), "weights_only": False},
        {"_target_": "pathlib.Path.write_text", "_args_": [path, "x"]},
        {"_target_": "torch.save", "obj": 1, "f": str(marker)},
        {"_target_": "urllib.request.urlopen", "url": "http://127.0.0.1:9/"},
        {"_target_": "os.system", "command": f"touch {marker}"},
        {"_target_": "subprocess.run", "args": ["touch", str(marker)]},
        {"_target_": "builtins.exec", "_args_": [f"open({str(marker)!r}, 'w')"]},
        {"_target_": "os.mkdir", "path": str(marker)},
        {"_target_": "hydra.utils.instantiate", "_recursive_": False, "config": load},
        {"_target_": "runpy.run_path", "path_name": str(folder / "evil.py")},
    ]


def plant(config: Path, place: str, node: dict[str, Any]) -> None:
    """Write a node into a recorded config: as the encoder, as the initial weights, or among the encoder's arguments."""
    content = yaml.safe_load(config.read_text())
    if place == "nested":
        content["encoder"]["mean"] = [node]
    else:
        content[place] = {"name": content[place]["name"], **node}
    config.write_text(yaml.safe_dump(content))


@pytest.fixture
def pretrained(staged) -> Path:
    return staged("pretrain", "stage.epochs=1", "stage.batch_size=16")


PLACES = ("encoder", "init", "nested")


def test_planted_target_is_one_line_and_never_called(staged, pretrained: Path, tmp_path: Path) -> None:
    probe, marker = staged("probe", *FAST), tmp_path / "marker"
    for folder, load in ((probe, load_saved_model), (pretrained, lambda folder: check_targets(folder, False))):
        recorded = (folder / "config.yaml").read_text()
        for place, node in itertools.product(PLACES, planted_nodes(tmp_path, marker)):
            plant(folder / "config.yaml", place, node)
            with pytest.raises(CheckpointError, match="not a target of simclr-med") as caught:
                load(folder)
            assert "\n" not in str(caught.value)
            assert any(f"_target_={target}: " in str(caught.value) for _, target in find_targets(node))
            assert not marker.exists()
            (folder / "config.yaml").write_text(recorded)


def test_every_stage_refuses_a_planted_folder(staged, pretrained: Path, tmp_path: Path) -> None:
    probe, marker = staged("probe", *FAST), tmp_path / "marker"
    recorded = {folder: (folder / "config.yaml").read_text() for folder in (probe, pretrained)}
    for place in PLACES:
        for folder, text in recorded.items():
            (folder / "config.yaml").write_text(text)
            plant(folder / "config.yaml", place, planted_nodes(tmp_path, marker)[0])
        for stage, words in STAGES.items():
            with pytest.raises(CheckpointError, match="not a target of simclr-med"):
                staged(stage, f"stage.run={probe}", *words)
        for stage in ("probe", "finetune", "pretrain"):
            with pytest.raises(CheckpointError, match="not a target of simclr-med"):
                staged(stage, "init=pretrained", f"init.run={pretrained}", "seed=3")
    assert not marker.exists()


def test_allow_code_calls_nothing_of_a_folder_either(staged, tmp_path: Path) -> None:
    probe, marker = staged("probe", "init=random", *FAST), tmp_path / "marker"
    forget_hashes(probe)  # a stranger records those of the planted file
    recorded = (probe / "config.yaml").read_text()
    for place in ("encoder", "nested"):
        for node in planted_nodes(tmp_path, marker):
            plant(probe / "config.yaml", place, node)
            with pytest.raises(CheckpointError, match=r"config\.yaml: encoder: ") as caught:
                load_saved_model(probe, (), True)
            assert "\n" not in str(caught.value)
            (probe / "config.yaml").write_text(recorded)
    plant(probe / "config.yaml", "init", node)
    assert load_saved_model(probe, (), True).stage == "probe", "its record says random weights, and none else is used"
    assert not marker.exists()


Change = Callable[[dict[str, Any]], Any]
DAMAGE: dict[str, tuple[Change, str]] = {
    "name": (lambda cfg: cfg["encoder"].update(name="../x"), "encoder.name=../x: not a name of an option"),
    "unknown": (lambda cfg: cfg["encoder"].update(name="big"), "encoder=big: unknown option"),
    "escape": (lambda cfg: cfg["encoder"].update({"\x1b[31m\n": 1}), r"encoder: \x1b[31m\n=1: unknown key"),
    "no text": (lambda cfg: cfg["encoder"].update(name=["tiny"]), "encoder.name=[…]: expected a text"),
    "seed": (lambda cfg: cfg.update(seed=float("inf")), "seed=inf: expected an integer from 0 to"),
    "key": (lambda cfg: cfg["encoder"].update(_partial_=True), "_partial_=True: unknown key"),
    "std": (lambda cfg: cfg["encoder"].update(std="x"), "std=x: expected a list"),
    "length": (lambda cfg: cfg["encoder"].update(mean=[0.5]), "encoder: "),
    "group": (lambda cfg: cfg.update(encoder="tiny"), "encoder=tiny: expected a mapping"),
}


def test_other_values_are_one_line(staged) -> None:
    folder = staged("probe", "init=random", *FAST)
    forget_hashes(folder)
    recorded = (folder / "config.yaml").read_text()
    for name, (change, message) in DAMAGE.items():
        content = yaml.safe_load(recorded)
        change(content)
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises((CheckpointError, ConfigError)) as caught:
            load_saved_model(folder)
        assert message in str(caught.value), name
        assert "\n" not in str(caught.value), name


def test_an_own_encoder_is_found_by_its_name(staged, tmp_path: Path) -> None:
    own = tmp_path / "lab"
    (own / "encoder").mkdir(parents=True)
    (own / "encoder" / "toy.yaml").write_text("name: toy\n_target_: toy_encoder.toy\nwidth: 20\n")
    words = (f"hydra.searchpath=[file://{own}]", "encoder=toy", "encoder.width=24", "init=random", "allow_code=true")
    folder = staged("probe", *words, *FAST)
    forget_hashes(folder)
    assert load_saved_model(folder, [own], True).encoder.width == 24
    with pytest.raises(ConfigError, match="encoder=toy: unknown option"):
        load_saved_model(folder, (), True)
    with pytest.raises(CheckpointError, match=r"encoder\._target_=toy_encoder\.toy: not a target of simclr-med"):
        load_saved_model(folder, [own])
    text = (folder / "config.yaml").read_text().replace("toy_encoder.toy", "simclr_med.toy")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"its _target_=toy_encoder\.toy is not a target of this group"):
        load_saved_model(folder, [own])


def test_an_optimizer_of_torch_needs_no_allow_code(staged, result, tmp_path: Path) -> None:
    own = tmp_path / "lab" / "optimizer"
    own.mkdir(parents=True)
    (own / "rms.yaml").write_text("name: rms\n_target_: torch.optim.RMSprop\nlr: 0.001\n")
    words = (f"hydra.searchpath=[file://{own.parent}]", "optimizer=rms", "stage.epochs=1", "stage.batch_size=16")
    folder = staged("pretrain", *words)
    assert result(folder)["metrics"]["train/loss"] > 0
    check_targets(folder, allow_code=False)
