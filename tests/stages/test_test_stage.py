"""stage=test on corrupted images and on images of other data sets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from simclr_med.config.corruptions import VALUES
from simclr_med.config.validate import find_problems
from simclr_med.corruptions.table import corrupt
from simclr_med.errors import ConfigError, DataError
from simclr_med.metrics import classification
from simclr_med.stages.other_data import match_shape

CORRUPTED = ("stage.corruptions=true", "stage.family=general", "stage.resamples=0")
SHORT = ("stage.families.general.motion_blur=[[3,3],[5,5],[10,5],[10,7],[10,9]]",)


@pytest.fixture
def probe(staged: Callable[..., Path]) -> Path:
    """An untrained control on the noisy images."""
    return staged("probe", "init=random", "stage.resamples=0")


def test_every_corruption_is_scored_at_every_severity(
    staged: Callable[..., Path], probe: Path, noisy: Path, result: Callable[[Path], dict[str, Any]]
) -> None:
    folder = staged("test", f"stage.run={probe}", *CORRUPTED, *SHORT)
    lines = list(csv.DictReader((folder / "corruptions.csv").open(encoding="utf-8")))
    record = result(folder)
    family = record["config"]["stage"]["families"]["general"]
    assert [(line["corruption"], int(line["severity"])) for line in lines] == [
        ("none", 0),
        *((name, severity) for name in family for severity in range(1, 6)),
    ]
    metrics = record["metrics"]
    assert float(lines[0]["accuracy"]) == metrics["test/accuracy"]
    for score in ("accuracy", "auroc", "balanced_error"):
        values = np.array([float(line[score]) for line in lines[1:]]).reshape(-1, 5)
        assert metrics[f"test/corrupted_{score}"] == pytest.approx(values.mean())
        assert [metrics[f"test/corrupted_{score}/{s}"] for s in range(1, 6)] == pytest.approx(values.mean(axis=0))
    for name in ("accuracy", "auroc", "accuracy/2", "auroc/5"):
        low, high = record["intervals"][f"test/corrupted_{name}"]
        assert 0 <= low < metrics[f"test/corrupted_{name}"] < high <= 1
    assert record["provenance"]["corruptions"] == {"family": "general"}
    # One row again, from images that are written to a file as MedMNIST-C publishes its own.
    content = dict(np.load(noisy))
    worse = corrupt(content["test_images"], range(24), "contrast_down", 5, [0.4], 0, torch.device("cpu"))
    published = noisy.parent / "contrast_down.npz"
    np.savez(published, test_images=worse, test_labels=content["test_labels"])
    again = staged("test", f"stage.run={probe}", "stage.resamples=0", path=published)
    saved = np.load(again / "predictions.npz")
    (line,) = [line for line in lines if (line["corruption"], line["severity"]) == ("contrast_down", "5")]
    assert classification.auroc("multi-class", saved["labels"], saved["probabilities"]) == float(line["auroc"])


def test_a_run_without_corruptions_has_the_identity_of_earlier_releases(
    staged: Callable[..., Path], probe: Path, result: Callable[[Path], dict[str, Any]]
) -> None:
    plain = staged("test", f"stage.run={probe}", "stage.resamples=0")
    unused = staged("test", f"stage.run={probe}", "stage.resamples=0", "stage.family=ct", "stage.ood_neighbours=3")
    assert plain == unused
    assert not (plain / "corruptions.csv").exists()
    assert not [name for name in result(plain)["metrics"] if "corrupted" in name or "ood" in name]


def test_foreign_images_are_told_by_three_scores(
    staged: Callable[..., Path],
    arrays: Callable[..., dict[str, np.ndarray]],
    tmp_path: Path,
    result: Callable[[Path], dict[str, Any]],
) -> None:
    known = arrays()
    known |= {"test_images": known["train_images"][:24], "test_labels": known["train_labels"][:24]}
    np.savez(tmp_path / "known.npz", **known)
    np.savez(tmp_path / "grey.npz", **arrays(channels=1, size=20))
    np.savez(tmp_path / "alike.npz", **arrays(seed=5))
    others = f"stage.ood=[{tmp_path / 'grey.npz'},{tmp_path / 'alike.npz'}]"
    probe = staged("probe", "init=random", "stage.resamples=0", path=tmp_path / "known.npz")
    words = ("stage.resamples=0", others, "stage.ood_neighbours=1")
    record = result(staged("test", f"stage.run={probe}", *words, path=tmp_path / "known.npz"))
    for name in ("grey", "alike"):
        assert record["metrics"][f"test/ood_knn/{name}"] == 1  # each own test image is a training image
        for score in ("ood_mahalanobis", "ood_energy"):
            low, high = record["intervals"][f"test/{score}/{name}"]
            assert 0 <= low <= record["metrics"][f"test/{score}/{name}"] <= high <= 1
    assert record["metrics"]["test/ood_mahalanobis/alike"] > 0.5
    assert set(record["provenance"]["ood"]) == {"grey", "alike"}
    assert "stage.ood=grey: its images (20 x 20 x 1) were converted to 28 x 28 x 3." in record["tables"]["notes"]


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("stage.ood=[dermamnits]", DataError, "stage.ood=dermamnits: no such data set, file or folder. Give a path"),
        ("stage.ood=[parquet]", DataError, "stage.ood=parquet: no such data set, file or folder. Give a path"),
        ("stage.ood=[../nowhere.npz]", DataError, r"stage.ood=../nowhere.npz: no such data set"),
    ],
)
def test_other_data_that_is_missing_is_one_line(
    staged: Callable[..., Path], probe: Path, override: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        staged("test", f"stage.run={probe}", override)


def test_other_data_may_be_parquet(staged, probe: Path, result, arrays, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = []
    for pixels in arrays()["test_images"]:
        target = io.BytesIO()
        Image.fromarray(pixels).save(target, "PNG")
        cells.append(target.getvalue())
    (tmp_path / "saved").mkdir()
    for path in (tmp_path / "other.parquet", tmp_path / "saved" / "test-0.parquet"):
        pq.write_table(pa.table({"image": cells}), path)  # labels are not needed
    others = f"stage.ood=[{tmp_path / 'other.parquet'},{tmp_path / 'saved'}]"
    record = result(staged("test", f"stage.run={probe}", "stage.resamples=0", others, "stage.ood_neighbours=1"))
    assert set(record["provenance"]["ood"]) == {"other.parquet", "saved"}


def test_colours_of_grey_images_are_refused(
    staged: Callable[..., Path], arrays: Callable[..., dict[str, np.ndarray]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "grey.npz", **arrays(channels=1))
    probe = staged("probe", "init=random", "stage.resamples=0", path=tmp_path / "grey.npz")
    with pytest.raises(ConfigError, match=r"stage.family=blood: saturate changes colours, and the images"):
        staged("test", f"stage.run={probe}", "stage.corruptions=true", "stage.family=blood", path=tmp_path / "grey.npz")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage.family=bloood"], "stage.family=bloood: unknown family. Choose one of general, pathology"),
        (["+stage.families.ct.jepg_compression=[1,2,3,4,5]"], "unknown corruption. Did you mean jpeg_compression?"),
        (["stage.families.ct.pixelate=[0.5,0.4]"], "expected a list with values of 5 severities"),
        (["stage.families.ct.pixelate=0.5"], "stage.families.ct.pixelate=0.5: expected a list with values of 5"),
        (["stage.families.ct.pixelate=[0.5,0.4,0.3,0.2,0]"], "expected a number from 0.001 to 1 for each severity"),
        (["stage.families.blood.bubble=[5,6,7,8,9]"], "a number from 3 to 224 and a number from 7 to 500 for each"),
        (["stage.families.ct=null"], "stage.families.ct=None: expected corruptions with their values"),
        (["stage.ood_neighbours=0"], "stage.ood_neighbours=0: expected an integer >= 1"),
    ],
)
def test_wrong_values_are_one_line(composed: Callable[..., Any], overrides: list[str], message: str) -> None:
    (line,) = find_problems(composed("stage=test", "stage.run=runs/probe/cells/a", *overrides))
    assert message in line


def test_every_data_set_has_a_known_family(composed: Callable[..., Any]) -> None:
    stage = composed("stage=test", "stage.run=runs/probe/cells/a").stage
    assert set(stage.family_of.values()) <= set(stage.families)
    assert {name for family in stage.families.values() for name in family} == set(VALUES)


def test_shapes_are_matched() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), dtype=np.uint8)
    assert match_shape(images, 40, 30, 3) is images
    grey = match_shape(images, 40, 30, 1)
    assert np.abs(grey[..., 0] - images @ np.array([0.299, 0.587, 0.114])).max() <= 0.51
    small = match_shape(np.full((2, 40, 30, 1), 77, np.uint8), 20, 28, 3)
    assert small.shape == (2, 20, 28, 3)
    assert set(small.ravel().tolist()) == {77}
