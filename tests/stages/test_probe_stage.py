"""The probe as a stage: its features, what it shares with other runs, and encoders from every kind of file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch import nn
from torchvision.models import resnet18
from torchvision.transforms.functional import normalize

from simclr_med.atomic import sha256
from simclr_med.errors import DataError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import tiny
from simclr_med.stages import probe as probe_module
from simclr_med.stages.confounders import LEAST_IMAGES

FAST = ("stage.resamples=0", "stage.solvers.logistic.points=2")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A tiny encoder in a file, with running statistics unlike a new one's."""
    torch.manual_seed(0)
    encoder = tiny()
    encoder(torch.rand(16, 3, 28, 28))
    torch.save(
        {"state_dict": {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}}, tmp_path / "w"
    )
    return tmp_path / "w"


def images_of(file: Path, split: str) -> torch.Tensor:
    """float32 [N, 3, H, W] in [0, 1]."""
    with np.load(file) as content:
        array = torch.from_numpy(content[f"{split}_images"])
    array = array[..., None].expand(-1, -1, -1, 3) if array.ndim == 3 else array
    return array.permute(0, 3, 1, 2).float() / 255


def labels_of(file: Path, split: str) -> np.ndarray:
    with np.load(file) as content:
        return np.asarray(content[f"{split}_labels"])[:, 0].astype(int)


def kept_features(runs: Path) -> list[torch.Tensor]:
    return [safetensors.torch.load_file(path)["features_ND"] for path in (runs / ".features").glob("*.safetensors")]


def test_the_whole_probe_by_hand(staged, result, weights: Path, noisy: Path) -> None:
    """Frozen encoder in eval mode, images as they are, scikit-learn's regression, its neighbours."""
    solver = [f"stage.solvers.logistic.{word}" for word in ("tolerance=1e-8", "points=3")]
    words = ("init=checkpoint", f"init.path={weights}", "stage.resamples=0", "stage.knn.k=5", *solver)
    folder = staged("probe", *words)
    encoder = tiny()
    load_weights(encoder, load_encoder_state(weights))
    with torch.no_grad():
        features = {split: encoder.eval()(images_of(noisy, split)).double().numpy() for split in ("train", "test")}
    scaler = StandardScaler().fit(features["train"])
    found = result(folder)["metrics"]
    model = LogisticRegression(C=1 / (found["probe/lambda"] * 48), tol=1e-9, max_iter=5000)
    model.fit(scaler.transform(features["train"]), labels_of(noisy, "train"))
    with np.load(folder / "predictions.npz") as content:
        expected = model.predict_proba(scaler.transform(features["test"]))
        np.testing.assert_allclose(content["probabilities"], expected, atol=1e-4)
    unit = {split: rows / np.linalg.norm(rows, axis=1, keepdims=True) for split, rows in features.items()}
    distances, nearest = NearestNeighbors(n_neighbors=5).fit(unit["train"]).kneighbors(unit["test"])
    votes = np.zeros((24, 3))
    for row, (away, rows) in enumerate(zip(distances, nearest, strict=True)):
        np.add.at(votes[row], labels_of(noisy, "train")[rows], np.exp((1 - away**2 / 2) / 0.07))
    assert found["test/knn_accuracy"] == (votes.argmax(axis=1) == labels_of(noisy, "test")).mean()
    assert found["train/images"] == 48


def test_the_encoder_is_frozen(staged, weights: Path, tmp_path: Path) -> None:
    before = weights.read_bytes()
    folder = staged("probe", "init=checkpoint", f"init.path={weights}", *FAST)
    assert weights.read_bytes() == before
    assert not (folder / "checkpoints").exists()


def test_features_are_computed_once_for_all_budgets_seeds_and_solvers(
    staged, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[int] = []
    extract: Callable[..., Any] = probe_module.extract_features
    monkeypatch.setattr(probe_module, "extract_features", lambda *given: times.append(len(given[1])) or extract(*given))
    words = ("probe", "init=checkpoint", f"init.path={weights}", *FAST)
    folders = {
        staged(*words),
        staged(*words, "data_fraction.samples=20"),
        staged(*words, "data_fraction.samples=20", "seed=1"),
        staged(*words, "stage.solver=sgd", "stage.solvers.sgd.epochs=2"),
    }
    assert len(folders) == 4
    assert sorted(times) == [24, 24, 48]


def test_features_of_other_weights_moments_or_images_are_others(
    staged, weights: Path, arrays, noisy: Path, tmp_path: Path
) -> None:
    words = ("probe", "init=checkpoint", f"init.path={weights}", *FAST)
    staged(*words)
    assert len(kept_features(tmp_path / "runs")) == 3
    staged("probe", "init=random", *FAST)
    assert len(kept_features(tmp_path / "runs")) == 6
    staged(*words, "encoder.mean=[0.4,0.5,0.5]")
    assert len(kept_features(tmp_path / "runs")) == 9
    np.savez(noisy, **arrays(seed=5))  # other images under the same name
    staged(*words)
    assert len(kept_features(tmp_path / "runs")) == 12


def network(kind: str) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """A torchvision network under the thesis's keys, with the head that such a file holds, and without it."""
    torch.manual_seed(0)
    whole = resnet18()
    whole(torch.rand(8, 3, 28, 28))  # running statistics unlike a new network's
    prefix, heads = (
        ("convnet.", (("fc.0", 512), ("fc.2", 128))) if kind == "pretraining" else ("backbone.", (("fc", 8),))
    )
    state = {f"{prefix}{name}": value for name, value in whole.state_dict().items() if not name.startswith("fc.")}
    for name, width in heads:
        state |= {f"{prefix}{name}.weight": torch.randn(width, 512), f"{prefix}{name}.bias": torch.randn(width)}
    whole.fc = nn.Identity()  # type: ignore[assignment]
    return state, whole.eval()


@pytest.mark.parametrize("kind", ["pretraining", "classifier"])
def test_an_original_checkpoint_gives_torchvisions_features(
    staged, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    state, theirs = network(kind)
    torch.save({"state_dict": state, "epoch": 9, "pytorch-lightning_version": "1.9.0"}, tmp_path / "original.ckpt")
    words = ("init=checkpoint", f"init.path={tmp_path / 'original.ckpt'}", "encoder=resnet18")
    staged("probe", *words, *FAST)
    message = f"resnet18 with the stock stem from the thesis's {kind} {tmp_path / 'original.ckpt'}"
    assert f"Encoder: {message}\n" in capsys.readouterr().out
    same_features(tmp_path / "runs", theirs, noisy, mean=[0.5] * 3, std=[0.5] * 3)


def test_imagenet_weights_give_torchvisions_features(
    staged, noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Normalised as torchvision's own preset does."""
    _, theirs = network("classifier")
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(theirs.state_dict(), cache / "new.pth")
    name = f"resnet18-{sha256(cache / 'new.pth')[:8]}.pth"
    (cache / "new.pth").rename(cache / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    staged("probe", "init=imagenet", f"init.files.resnet18={name}", "encoder=resnet18", *FAST)
    assert "Downloading" not in capsys.readouterr().out
    same_features(tmp_path / "runs", theirs, noisy, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def same_features(runs: Path, theirs: nn.Module, file: Path, **moments: list[float]) -> None:
    """The kept features of the three splits are the network's, each once."""
    kept = kept_features(runs)
    assert len(kept) == 3
    with torch.no_grad():
        for split in ("train", "val", "test"):
            expected = theirs(normalize(images_of(file, split), **moments))
            like = [one for one in kept if one.shape == expected.shape]
            assert min(float((one - expected).abs().max()) for one in like) < 1e-5


def test_the_originals_solver_is_repeated_by_its_seed(staged) -> None:
    words = ("probe", "init=random", *FAST, "stage.solver=sgd", "stage.solvers.sgd.epochs=3")
    one = (staged(*words) / "predictions.npz").read_bytes()
    assert (staged(*words, "overwrite=true") / "predictions.npz").read_bytes() == one


def test_training_images_of_one_class_alone(staged, arrays, result, tmp_path: Path, capsys) -> None:
    data = arrays()
    data["train_labels"][:] = 1
    np.savez(tmp_path / "one.npz", **data)
    folder = staged("probe", "init=random", *FAST, "dataset.class_names=[a,b,c]", path=tmp_path / "one.npz")
    assert "no training image of a, c in this subset" in capsys.readouterr().out
    with np.load(folder / "predictions.npz") as content:
        assert np.array_equal(content["probabilities"], np.tile([0, 1, 0], (24, 1)))
    assert result(folder)["metrics"]["test/auroc"] == 0.5
    assert "no training image of a, c" in result(folder)["tables"]["notes"][-1]
    assert result(folder)["metrics"]["train/missing_classes"] == 2


def test_a_set_without_labels_is_one_line(staged, arrays, tmp_path: Path) -> None:
    bare = {name: array for name, array in arrays().items() if name.endswith("images")}
    np.savez(tmp_path / "bare.npz", **bare)
    with pytest.raises(DataError, match="labels are required for stage=probe") as caught:
        staged("probe", "init=random", path=tmp_path / "bare.npz")
    assert "\n" not in str(caught.value)


def test_metadata_become_subgroups_and_a_probe_of_the_confounder(staged, noisy: Path, tmp_path: Path) -> None:
    """The column that is the label is told by the features as well as the label; a constant one is not asked for."""
    lines = ["split,row,scanner,place"]
    for split in ("train", "val", "test"):
        lines += [f"{split},{row},scanner {label},here" for row, label in enumerate(labels_of(noisy, split))]
    (tmp_path / "meta.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ("encoder=tiny", "init=random", *FAST, f"dataset.metadata_csv={tmp_path / 'meta.csv'}")
    folder = staged("probe", *words)
    kept = (folder / "subgroups.csv").read_text(encoding="utf-8").splitlines()
    assert kept[:2] == ["scanner,place", f"scanner {labels_of(noisy, 'test')[0]},here"]
    assert len(kept) == 1 + len(labels_of(noisy, "test"))
    head, *rows = (folder / "confounders.csv").read_text(encoding="utf-8").splitlines()
    assert head == "column,values,images,auroc,low,high"
    counts = [np.bincount(labels_of(noisy, split)) for split in ("train", "test")]
    is_asked = all(count.min() >= LEAST_IMAGES for count in counts)
    assert [row.split(",")[0] for row in rows] == ["scanner"] * is_asked
    with np.load(folder / "predictions.npz") as content:
        assert content["val_probabilities"].shape == (len(content["val_labels"]), content["probabilities"].shape[1])
        assert np.array_equal(content["val_labels"][:, 0], labels_of(noisy, "val"))


def test_metadata_name_the_rows_of_the_whole_set_where_images_are_left_out(staged, noisy: Path, tmp_path: Path) -> None:
    lines = ["split,row,place"]
    for split in ("train", "val", "test"):
        lines += [f"{split},{row},place {row}" for row in range(len(labels_of(noisy, split)))]
    (tmp_path / "meta.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "exclude.csv").write_text("split,row\ntest,1\ntrain,0\n", encoding="utf-8")
    keys = (f"dataset.metadata_csv={tmp_path / 'meta.csv'}", f"dataset.exclude={tmp_path / 'exclude.csv'}")
    folder = staged("probe", "encoder=tiny", "init=random", *FAST, *keys)
    kept = (folder / "subgroups.csv").read_text(encoding="utf-8").splitlines()
    assert kept[:3] == ["place", "place 0", "place 2"]
    assert len(kept) == len(labels_of(noisy, "test"))
