"""An analysis measures what it says, of the encoder it names and any kind of labels, and chooses nothing by test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from simclr_med.config.validate import find_problems
from simclr_med.errors import DataError, RunError
from simclr_med.evaluation import gradcam
from simclr_med.evaluation.representation import effective_rank, uniformity
from simclr_med.models.encoders import tiny
from simclr_med.stages import analyse_figures as looks_module

pytestmark = pytest.mark.usefixtures("small_pictures")
QUICK = ("stage.perplexities=[5]", "stage.queries=2", "stage.neighbours=2")
ALWAYS = {"pca", "tsne", "neighbours"}


@pytest.fixture(autouse=True)
def without_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes half a minute to compile itself."""
    monkeypatch.setattr(looks_module.projections, "is_umap_installed", lambda: False)


def drawn(folder: Path) -> set[str]:
    pictures = list((folder / "figures").glob("*"))
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    return {picture.stem for picture in pictures}


def kept(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "embeddings.npz") as content:
        return dict(content)


def test_what_it_measures_is_of_what_it_keeps(staged, result, noisy: Path, capsys: Any) -> None:
    folder = staged("analyse", "init=random", "stage.points=20", "seed=2", *QUICK)
    found, data = result(folder)["metrics"], kept(folder)
    assert drawn(folder) == ALWAYS
    assert not list(folder.rglob("*.safetensors")), "nothing is learned"
    with np.load(noisy) as content:
        for split in ("train", "test"):
            rows, features = data[f"{split}_rows"], data[f"{split}_features"]
            assert features.shape == (20, 64)
            assert np.array_equal(data[f"{split}_labels"], content[f"{split}_labels"][rows])
            labels, given = data[f"{split}_labels"][:, 0], torch.from_numpy(features)
            assert found[f"{split}/silhouette"] == pytest.approx(silhouette_score(features, labels, metric="cosine"))
            assert found[f"{split}/effective_rank"] == pytest.approx(float(effective_rank(given)))
            assert found[f"{split}/uniformity"] == pytest.approx(float(uniformity(given)))
            assert 0 < found[f"{split}/alignment"] < 4
            assert found[f"{split}/points"] == 20
            assert data[f"{split}_pca"].shape == data[f"{split}_tsne_5"].shape == (20, 2)
    shares = np.linalg.svd(data["train_features"] - data["train_features"].mean(axis=0), compute_uv=False) ** 2
    assert found["train/pca_variance_2"] == pytest.approx(shares[:2].sum() / shares.sum(), rel=1e-4)
    message = capsys.readouterr().out
    assert "UMAP:     left out" in message
    assert str(folder / "embeddings.npz") in message


def test_the_test_split_changes_nothing_of_the_training_splits(staged, arrays, result, tmp_path: Path) -> None:
    one, other = arrays(), arrays(seed=9)
    changed = {**one, "test_images": other["test_images"][:20], "test_labels": other["test_labels"][:20]}
    folders = []
    for name, data in (("one", one), ("two", changed)):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "cells.npz", **data)
        words = ("init=random", f"paths.runs={tmp_path / name / 'runs'}", *QUICK)
        folders.append(staged("analyse", *words, path=tmp_path / name / "cells.npz"))
    found = [result(folder)["metrics"] for folder in folders]
    train = [{name: value for name, value in metrics.items() if name.startswith("train/")} for metrics in found]
    assert train[0] == train[1]
    assert found[0]["test/effective_rank"] != found[1]["test/effective_rank"]
    data = [kept(folder) for folder in folders]
    for name in ("train_rows", "train_features", "train_pca", "train_tsne_5"):
        assert np.array_equal(data[0][name], data[1][name]), name


@pytest.mark.parametrize(("columns", "labelled"), [(4, True), (1, False)], ids=["several labels", "no labels"])
def test_sets_without_one_class_an_image(staged, arrays, result, tmp_path: Path, columns: int, labelled: bool) -> None:
    data = {name: array for name, array in arrays(columns=columns, channels=1).items() if labelled or "images" in name}
    np.savez(tmp_path / "set.npz", **data)
    folder = staged("analyse", "init=random", *QUICK, path=tmp_path / "set.npz")
    found = result(folder)["metrics"]
    assert drawn(folder) == ALWAYS
    assert {"train/alignment", "train/uniformity", "test/effective_rank"} <= set(found)
    assert ("test/knn_accuracy" in found) == labelled
    assert "test/silhouette" not in found
    assert ("train_labels" in kept(folder)) == labelled


def test_a_set_with_training_images_alone_and_perplexities_too_large(
    staged, arrays, result, tmp_path: Path, capsys: Any
) -> None:
    data = {name: array for name, array in arrays().items() if not name.startswith("test")}
    np.savez(tmp_path / "set.npz", **data)
    words = ("stage.points=24", "stage.perplexities=[30,50,3]")
    folder = staged("analyse", "init=random", *QUICK, *words, path=tmp_path / "set.npz")
    assert drawn(folder) == {"pca", "tsne"}
    assert not [name for name in result(folder)["metrics"] if name.startswith("test/")]
    assert {name for name in kept(folder) if "tsne" in name} == {"train_tsne_3", "train_tsne_7"}
    message = capsys.readouterr().out
    assert "stage.perplexities=30 is too large for 24 images: using 7.\n" in message
    assert "stage.perplexities=50 is too large for 24 images: using 7.\n" in message


def test_a_set_of_test_images_alone_is_one_line(staged, arrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **{name: array for name, array in arrays().items() if name.startswith("test")})
    with pytest.raises(DataError, match="dataset=set: training images are required") as caught:
        staged("analyse", "init=random", path=tmp_path / "set.npz")
    assert "\n" not in str(caught.value)


def test_an_encoder_that_gives_every_image_the_same_features_is_one_line(staged, tmp_path: Path) -> None:
    encoder = tiny()
    for parameter in encoder.parameters():
        torch.nn.init.zeros_(parameter)
    torch.save(encoder.state_dict(), tmp_path / "zeros.pth")
    with pytest.raises(RunError, match="all training images have the same features") as caught:
        staged("analyse", "init=checkpoint", f"init.path={tmp_path / 'zeros.pth'}", *QUICK)
    assert "\n" not in str(caught.value)


def test_a_probe_without_captum(staged, result, tmp_path: Path, monkeypatch, capsys) -> None:
    """The features that the probe left are taken, and kNN is over all images as the probe's, whatever few are drawn."""
    first = staged("probe", "init=random", "stage.resamples=0", "stage.solvers.logistic.points=2")
    monkeypatch.setattr(gradcam, "is_captum_installed", lambda: False)
    before = sorted((tmp_path / "runs" / ".features").glob("*.safetensors"))
    folder = staged("analyse", "init=model", f"stage.run={first}", "stage.points=12", *QUICK)
    assert drawn(folder) == ALWAYS
    assert "Grad-CAM: left out: captum is not installed" in capsys.readouterr().out
    assert sorted((tmp_path / "runs" / ".features").glob("*.safetensors")) == before
    own, found = result(first)["metrics"], result(folder)["metrics"]
    for name in ("test/knn_accuracy", "test/knn_auroc"):
        assert found[name] == own[name]


def test_a_classifier_and_where_it_looks(staged, result, monkeypatch, capsys) -> None:
    """Its own encoder is looked at, and its answers are those it was scored with."""
    words = (
        "stage.resamples=0",
        "stage.epochs=1",
        "stage.min_steps=0",
        "schedule.warmup_epochs=0",
        "stage.batch_size=16",
    )
    first = staged("baseline", *words)
    given: list[Any] = []
    real = looks_module.plot_gallery
    monkeypatch.setattr(looks_module, "plot_gallery", lambda *args: given.append(args) or real(*args))
    if importlib.util.find_spec("captum") is None:
        monkeypatch.setattr(gradcam, "is_captum_installed", lambda: True)
        monkeypatch.setattr(gradcam, "grad_cam", lambda _e, _h, images, _t: (torch.rand(len(images), 4, 4), "layer2"))
    folder = staged("analyse", "init=model", f"stage.run={first}", "stage.cams=3", *QUICK)
    assert drawn(folder) == ALWAYS | {"gradcam"}
    assert f"Encoder: from the baseline run {first}" in capsys.readouterr().out
    rows, _, title = given[-1]
    assert f"correct predictions ({round(24 * result(first)['metrics']['test/accuracy'])} of 24)" in title
    assert all(tile.heat is None for row in rows[::2] for tile in row)
    assert all(tile.heat.shape == (4, 4) for row in rows[1::2] for tile in row)
    assert [row[0].is_correct for row in rows] == [True, True, False, False]


def test_a_run_comes_with_its_own_encoder(composed) -> None:
    (line,) = find_problems(composed("stage=analyse", "stage.run=runs/probe/cells/a"))
    assert line == "init=pretrained: stage.run needs init=model, which uses the encoder of that run. Add init=model."
    assert find_problems(composed("stage=analyse", "init=model", "stage.run=runs/probe/cells/a")) == []
    assert find_problems(composed("stage=analyse", "stage.perplexities=[0.5]"))[0].startswith(
        "stage.perplexities=0.5: expected"
    )


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("count", [1, 3])
def test_a_split_of_too_few_images_has_no_map(
    staged, result, arrays, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    mapped: list[int] = []

    def umap(coordinates_NC: np.ndarray, seed: int) -> np.ndarray:
        mapped.append(len(coordinates_NC))
        return coordinates_NC[:, :2]

    monkeypatch.setattr(looks_module.projections, "is_umap_installed", lambda: True)
    monkeypatch.setattr(looks_module.projections, "umap", umap)
    content = arrays()
    few = {name: array[:count] if name.startswith("test") else array for name, array in content.items()}
    np.savez(tmp_path / "few.npz", **few)
    folder = staged("analyse", "init=random", "stage.points=24", *QUICK, path=tmp_path / "few.npz")
    assert f"Maps:     left out: {count} test images are fewer than 4.\n" in capsys.readouterr().out
    assert result(folder)["metrics"]["test/points"] == count
    assert mapped == [24]
    assert {"train_tsne_5", "train_umap", "test_pca"} <= set(kept(folder))
    assert not {"test_tsne_5", "test_umap"} & set(kept(folder))
