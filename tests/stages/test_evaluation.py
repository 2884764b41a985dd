"""Probe, finetune, baseline, test and predict on small files: what they leave, and what they may look at."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simclr_med import build
from simclr_med.config.budgets import expand_budgets as cells_of
from simclr_med.config.medmnist_info import load_medmnist_table
from simclr_med.config.validate import validate_config
from simclr_med.data.npz import Npz
from simclr_med.errors import ConfigError, DataError, RunError
from simclr_med.metrics import classification
from simclr_med.runs.run import open_run

QUICK = ("encoder=tiny", "logger=none", "trainer=cpu", "trainer.threads=1")
TRAIN = ("stage.epochs=2", "stage.min_steps=0", "schedule.warmup_epochs=0", "stage.batch_size=16", "stage.resamples=50")


class Opened(Exception):
    """Somebody looked at the test split."""


class WithoutTest(Npz):
    """A data set whose test split must not be touched."""

    def split(self, split: Any) -> Any:
        if split == "test":
            raise Opened
        return super().split(split)

    def labels(self, split: Any) -> Any:
        if split == "test":
            raise Opened
        return super().labels(split)


@pytest.fixture
def do(composed, cells: Path, tmp_path: Path):
    """Run one stage in this process and give its folder."""

    def run(*words: str, source: Any = None, path: Path = cells) -> Path:
        data = ("dataset=npz", f"dataset.path={path}") if not any(w.startswith("dataset=") for w in words) else ()
        cfg = validate_config(composed(*words[:1], *data, f"paths.runs={tmp_path / 'runs'}", *QUICK, *words[1:]))
        found = build.build_source(cfg) if source is None else source
        with open_run(cfg, found.content_hash(), build.build_init(cfg)) as run:
            build.import_stage(cfg)(run, found)
            return run.folder

    return run


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("stage", ["probe", "baseline"])
def test_recorded_scores_are_those_of_the_predictions(do, stage: str) -> None:
    folder = do(f"stage={stage}", "init=random", "stage.resamples=50", *(TRAIN[:4] if stage == "baseline" else ()))
    kept = np.load(folder / "predictions.npz")
    again = classification.compute_scores("multi-class", kept["labels"], kept["probabilities"])
    recorded = result(folder)
    for name in ("accuracy", "auroc", "balanced_accuracy", "macro_f1", "calibration_error", "nll"):
        assert recorded["metrics"][f"test/{name}"] == again[name]
    low, high = recorded["intervals"]["test/accuracy"]
    assert low <= again["accuracy"] <= high
    assert recorded["provenance"]["protocol"]


@pytest.mark.parametrize("stage", ["probe", "finetune", "baseline"])
def test_the_test_split_is_opened_only_once_all_is_chosen(do, cells: Path, tmp_path: Path, stage: str) -> None:
    source = WithoutTest("cells", str(cells), None, None)
    with pytest.raises(Opened):
        do(f"stage={stage}", "init=random", *(() if stage == "probe" else TRAIN), source=source)
    (folder,) = (tmp_path / "runs" / stage / "cells").iterdir()
    assert (folder / "head.safetensors").exists()
    assert not (folder / "predictions.npz").exists()
    if stage != "probe":
        assert len(list(csv.DictReader((folder / "metrics.csv").open()))) == 2
        assert (folder / "checkpoints" / "best.ckpt").exists()


def test_pretraining_never_opens_the_test_split(do, cells: Path) -> None:
    source = WithoutTest("cells", str(cells), None, None)
    folder = do("stage=pretrain", "stage.epochs=1", "stage.batch_size=16", source=source)
    assert (folder / "result.json").exists()


@pytest.mark.parametrize("stage", ["probe", "baseline"])
def test_scoring_a_saved_model_again_gives_its_own_figures(do, stage: str) -> None:
    first = do(f"stage={stage}", "init=random", "stage.resamples=50", *(TRAIN[:4] if stage == "baseline" else ()))
    again = do("stage=test", f"stage.run={first}", "stage.resamples=50")
    own, found = result(first), result(again)
    for name, value in found["metrics"].items():
        assert own["metrics"][name] == value
    assert own["intervals"] == found["intervals"]


def test_other_classes_are_refused(do, tmp_path: Path) -> None:
    first = do("stage=probe", "init=random", "stage.resamples=0")
    two = written(tmp_path / "two.npz", classes=2)
    with pytest.raises(DataError, match="expected the model's classes"):
        do("stage=test", f"stage.run={first}", path=two)


def test_predict_writes_a_row_for_every_image(do, tmp_path: Path) -> None:
    first = do("stage=probe", "init=random", "stage.resamples=0")
    new = tmp_path / "new.npz"
    np.savez(new, test_images=np.random.default_rng(0).integers(0, 255, (11, 28, 28, 3), dtype=np.uint8))
    folder = do("stage=predict", f"stage.run={first}", "stage.chunk=4", path=new)
    rows = list(csv.DictReader((folder / "predictions.csv").open(encoding="utf-8")))
    assert len(rows) == 11
    for row in rows:
        each = [float(row[f"probability/{k}"]) for k in range(3)]
        assert sum(each) == pytest.approx(1, abs=1e-4)
        assert row["predicted"] == str(int(np.argmax(each)))


def test_damaged_features_are_computed_again(do, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = do("stage=probe", "init=random", "stage.resamples=0")
    before = (first / "predictions.npz").read_bytes()
    for file in (tmp_path / "runs" / ".features").glob("*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    again = do("stage=probe", "init=random", "stage.resamples=0", "overwrite=true")
    assert capsys.readouterr().out.count("damaged file; computing the features again") == 3
    assert (again / "predictions.npz").read_bytes() == before


def test_a_class_without_training_images_is_told(do, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "rare.npz", classes=3, train_classes=2)
    folder = do("stage=probe", "init=random", "dataset.class_names=[a,b,c]", "stage.resamples=20", path=path)
    assert "no training image of c" in capsys.readouterr().out
    found = result(folder)["metrics"]
    assert {"test/auroc", "test/auroc_trained_classes"} <= set(found)
    assert np.all(np.load(folder / "predictions.npz")["probabilities"][:, 2] == 0)


def test_a_budget_per_class_of_a_multi_label_set_is_refused(do, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="per_class"):
        do("stage=probe", "init=random", "data_fraction=per_class10", path=written(tmp_path / "m.npz", columns=4))


@pytest.mark.parametrize("flag", sorted(flag for flag in load_medmnist_table() if not flag.endswith("3d")))
def test_every_medmnist_set_trains_a_step_and_is_scored(do, tmp_path: Path, flag: str) -> None:
    info = load_medmnist_table()[flag]
    columns = len(info["label"]) if info["task"].startswith("multi-label") else 1
    written(tmp_path / "data" / f"{flag}.npz", len(info["label"]), columns=columns, channels=info["n_channels"])
    folder = do(
        "stage=baseline",
        f"dataset={flag}",
        "dataset.verify=false",
        f"paths.data={tmp_path / 'data'}",
        *TRAIN[1:4],
        "stage.epochs=1",
        "stage.resamples=0",
    )
    assert {"test/accuracy", "test/auroc"} <= set(result(folder)["metrics"])
    assert do(
        "stage=probe",
        f"dataset={flag}",
        "init=random",
        "dataset.verify=false",
        f"paths.data={tmp_path / 'data'}",
        "stage.resamples=0",
        "stage.solvers.logistic.points=2",
    ).is_dir()


def test_cells_are_the_single_commands(composed) -> None:
    whole = composed("stage=probe", "init=random", "stage.budgets=[50,pct10,full]", "stage.seeds=[0,3]")
    found = [validate_config(cell) for cell in cells_of(whole)]
    typed = [
        validate_config(composed("stage=probe", "init=random", f"data_fraction={budget}", f"seed={seed}"))
        for budget in ("n50", "pct10", "full")
        for seed in (0, 3)
    ]
    assert found == typed
    with pytest.raises(ConfigError, match=r"stage\.budgets=some"):
        cells_of(composed("stage=probe", "stage.budgets=[some]"))


def test_original_checkpoint_gives_torchvisions_features(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    from simclr_med.models.encoder_files import load_encoder_state, load_weights
    from simclr_med.models.encoders import resnet

    torch.manual_seed(0)
    network = resnet18().eval()
    state = {f"convnet.{name}": value for name, value in network.state_dict().items() if not name.startswith("fc.")}
    state |= {"convnet.fc.0.weight": torch.randn(512, 512), "convnet.fc.0.bias": torch.randn(512)}
    state |= {"convnet.fc.2.weight": torch.randn(128, 512), "convnet.fc.2.bias": torch.randn(128)}
    torch.save({"state_dict": state}, tmp_path / "original.ckpt")
    encoder = resnet(18).eval()
    message = load_weights(encoder, load_encoder_state(tmp_path / "original.ckpt"))
    assert "original" in message
    network.fc = torch.nn.Identity()
    images = torch.rand(4, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), network((images - 0.5) / 0.5), atol=1e-5, rtol=1e-5)


def test_projection_layers_need_a_pretraining_run(do) -> None:
    with pytest.raises(RunError, match=r"stage\.projection_layers=1"):
        do("stage=baseline", *TRAIN, "stage.projection_layers=1")


def test_finetuning_from_the_heads_first_layer(do) -> None:
    do("stage=pretrain", "stage.epochs=1", "stage.batch_size=16")
    first = do("stage=finetune", *TRAIN, "stage.projection_layers=1")
    again = do("stage=test", f"stage.run={first}", "stage.resamples=50")
    assert result(again)["metrics"]["test/nll"] == result(first)["metrics"]["test/nll"]


def written(path: Path, classes: int = 3, columns: int = 1, channels: int = 3, train_classes: int = 0) -> Path:
    """A file in MedMNIST's layout with a few images of every class."""
    generator = np.random.default_rng(0)
    path.parent.mkdir(exist_ok=True)
    content: dict[str, np.ndarray] = {}
    for split, count in (("train", 48), ("val", 32), ("test", 32)):
        known = train_classes if train_classes and split != "test" else classes
        labels = generator.integers(0, 2, (count, columns)) if columns > 1 else (np.arange(count) % known)[:, None]
        shape = (count, 28, 28, 3) if channels == 3 else (count, 28, 28)
        content |= {
            f"{split}_images": generator.integers(0, 255, shape, dtype=np.uint8),
            f"{split}_labels": labels.astype(np.uint8),
        }
    np.savez(path, **content)
    return path
