"""Encoders and classifiers in Python give what the stages computed, and follow scikit-learn's conventions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from api.conftest import QUICK, Made
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_checks

import simclr_med as sm
from simclr_med.api.datasets import Data
from simclr_med.cli.main import run_command
from simclr_med.data.synthetic.dataset import Synthetic
from simclr_med.errors import UserError
from simclr_med.metrics_csv import read_rows
from simclr_med.safe_files import read_json


@pytest.fixture(scope="module")
def data() -> Data:
    """The data set of the runs."""
    return Data(Synthetic("synthetic", 28, 0, 96, 32, 32))


def test_encoder_of_a_run_of_its_probe_and_of_its_file_are_one(made: Made, data: Data) -> None:
    images = data.test[0]
    sources = (made.pretrained, made.probe, made.pretrained / "encoder.safetensors", str(made.pretrained))
    found = [sm.extract_features(sm.load_encoder(source, device="cpu"), images) for source in sources]
    assert (found[0].shape, found[0].dtype) == ((32, 64), np.float32)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_encoder_has_no_gradients_and_its_mode_stays(made: Made, data: Data) -> None:
    encoder = sm.load_encoder(made.pretrained)
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    direct = encoder(encoder.transform(data.test[0]).to(next(encoder.parameters()).device)).cpu().numpy()
    np.testing.assert_allclose(sm.extract_features(encoder, data.test[0], batch_size=7), direct, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_state_dict_of_torchvision_needs_no_name(name: str, tmp_path: Path) -> None:
    network = getattr(torchvision.models, name)()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    encoder = sm.load_encoder(tmp_path / "weights.pth", device="cpu")
    np.testing.assert_array_equal(encoder.layer1[0].conv1.weight, network.layer1[0].conv1.weight.detach())
    with pytest.raises(UserError, match="expected weights of resnet50"):
        sm.load_encoder(tmp_path / "weights.pth", encoder="resnet50")


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path, made: Made) -> None:
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path, tmp_path / "empty.safetensors"):
        with pytest.raises(UserError) as caught:
            sm.load_encoder(path)
        assert len(caught.value.problems) == 1
    with pytest.raises(UserError, match=r"head\.safetensors"):
        sm.load_classifier(made.pretrained)
    with pytest.raises(UserError, match="dataset=bloodmnits: no such file, folder or data set"):
        sm.load_data("bloodmnits")
    with pytest.raises(TypeError, match="encoder=int: expected what load_encoder returns"):
        sm.extract_features(3, np.zeros((1, 4, 4)))  # type: ignore[arg-type]


def test_classifier_gives_the_predictions_of_its_run(made: Made, data: Data) -> None:
    classifier = sm.load_classifier(made.probe)
    with np.load(made.probe / "predictions.npz") as recorded:
        np.testing.assert_allclose(classifier.predict_proba(data.test[0]), recorded["probabilities"], atol=1e-6)
        expected = np.array(data.classes)[recorded["probabilities"].argmax(axis=1)]
    np.testing.assert_array_equal(classifier.predict(data.test[0]), expected)


def test_probe_has_the_scores_of_the_stage(made: Made, data: Data) -> None:
    metrics = read_json(made.probe / "result.json")["metrics"]
    found = sm.probe(made.pretrained, data, labels=40)
    assert found.labels == metrics["train/images"] == 40
    assert found.scores["auroc"] == pytest.approx(metrics["test/auroc"], abs=1e-6)
    assert found.intervals["auroc"][0] < found.scores["auroc"] < found.intervals["auroc"][1]
    assert (
        found.scores["accuracy"]
        == (found.classifier.predict(data.test[0]) == np.array(data.classes)[data.test[1]]).mean()
    )


def test_list_of_runs_is_a_table(made: Made) -> None:
    runs = sm.list_runs(made.runs).set_index("stage")
    assert runs.loc["probe", "budget"] == "n40"
    assert runs.loc["pretrain", "path"] == str(made.pretrained)
    last = float(read_rows(made.pretrained / "metrics.csv")[-1]["train/loss"])
    assert runs.loc["pretrain", "train/loss"] == last
    assert sm.list_runs(made.runs / "nothing").empty


def test_features_follow_the_conventions_of_scikit_learn(made: Made, data: Data) -> None:
    features = sm.Features(str(made.pretrained), batch_size=16)
    assert features.get_params() == {"encoder": str(made.pretrained), "batch_size": 16}
    assert clone(features).get_params() == features.get_params()
    for check in (
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
    ):
        check("Features", features)
    images = data.test[0]
    fitted = features.fit(images)
    assert fitted is features
    assert fitted.transform(images).shape == (32, len(fitted.get_feature_names_out()))
    network = clone(sm.Features(sm.load_encoder(made.pretrained)))
    np.testing.assert_allclose(network.fit_transform(images), fitted.transform(images), atol=1e-5)
    with pytest.raises(ValueError, match="not fitted"):
        sm.Features(str(made.pretrained)).transform(images)


def test_features_fit_a_pipeline_and_a_search(made: Made, data: Data) -> None:
    model = Pipeline([("features", sm.Features(str(made.pretrained))), ("model", LogisticRegression(max_iter=200))])
    search = GridSearchCV(model, {"model__C": [0.1, 1.0]}, cv=2).fit(*data.train)
    assert search.predict(data.test[0]).shape == (32,)


def test_data_are_read_from_names_files_and_folders(tmp_path: Path, cells: Path) -> None:
    own = sm.load_data(cells)
    assert (own.name, own.train[0].shape, own.train[1].shape) == ("cells", (40, 28, 28, 3), (40,))
    from PIL import Image

    for number in range(6):
        place = tmp_path / "scans" / ("a", "b")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(own.train[0][number]).save(place / f"{number}.png")
    scans = sm.load_data(tmp_path / "scans", size=32)
    assert (scans.classes, scans.train[0].shape[1:]) == (("a", "b"), (32, 32, 3))


def test_a_finetuned_run_has_its_own_encoder(made: Made, data: Data, tmp_path: Path) -> None:
    short = ("stage=finetune", "data_fraction.samples=40", "stage.epochs=1", "stage.min_steps=0", "stage.resamples=0")
    start = (f"init.run={made.pretrained}", "schedule.warmup_epochs=0", f"paths.runs={tmp_path}")
    assert run_command([*short, *start, *QUICK]) == 0
    (folder,) = tmp_path.glob("finetune/*/*")
    images = data.test[0]
    own, first = (sm.extract_features(source, images) for source in (folder, made.pretrained))
    assert np.abs(own - first).max() > 0
    with np.load(folder / "predictions.npz") as recorded:
        found = sm.load_classifier(folder).predict_proba(images)
        np.testing.assert_allclose(found, recorded["probabilities"], atol=1e-5)
