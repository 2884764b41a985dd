"""Keys of a folder of images that belong together, and what of them takes part in a run's identity."""

from __future__ import annotations

import pytest

from simclr_med.config.validate import find_problems, validate_config
from simclr_med.runs.identity import compute_config_hash, scientific_config

FOLDER = ("dataset=folder", "dataset.path=scans")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (("dataset.window=[40,400]",), "dataset.window=[40,400]: not used with dataset.intensity=dataset."),
        (("dataset.intensity=window", "dataset.window=[40]"), "dataset.window=[40]: expected [center,width]"),
        (("dataset.intensity=window", "dataset.window=[40,0]"), "dataset.window=[40,0]: expected [center,width]"),
        (("dataset.intensity=window", "dataset.window=[40,nan]"), "expected a list of finite numbers"),
        (("dataset.intensity=minmax",), "dataset.intensity=minmax: expected one of full, dataset, window, per_image."),
        (("dataset.csv.label=Befund",), "dataset.csv.label=Befund: names a column, but no CSV is given."),
        (("dataset.csv.path=a.csv",), "dataset.csv.path=a.csv: none of its columns is used."),
        (
            ("dataset.csv.path=a.csv", "dataset.csv.label=x", "dataset.groups_csv=b.csv"),
            "dataset.groups_csv=b.csv: not used with dataset.csv.path.",
        ),
        (
            ("dataset.csv.path=a.csv", "dataset.csv.label=x", "dataset.class_folders=true"),
            "dataset.class_folders=true: not used with dataset.csv.label",
        ),
        (("dataset.broken=maybe",), "dataset.broken=maybe: expected one of refuse, skip."),
        (("dataset.frames=two",), "dataset.frames=two: expected one of one, each."),
    ],
)
def test_each_mistake_is_one_sentence(composed, overrides, problem) -> None:
    (found,) = find_problems(composed(*FOLDER, *overrides))
    assert problem in found
    assert found.endswith(".")


def test_how_files_are_read_is_in_the_hash_of_the_data_alone(composed) -> None:
    usual = validate_config(composed(*FOLDER)).plain
    more = ("dataset.intensity=window", "dataset.window=[40,400]", "dataset.frames=each", "dataset.broken=skip")
    more += ("dataset.csv.path=a.csv", "dataset.csv.label=x")
    other = validate_config(composed(*FOLDER, *more)).plain
    assert compute_config_hash(usual, "data", "random") == compute_config_hash(other, "data", "random")
    recorded = {"name", "_target_", "size", "channels", "class_folders", "split_seed", "val_fraction", "test_fraction"}
    dataset = scientific_config(other)["dataset"]
    assert set(dataset) == recorded | {"intensity", "mirror_p"}
    assert dataset["intensity"] == "full"  # as in runs from before the key had other values


@pytest.mark.parametrize(
    "words", [(), ("dataset.csv.path=a.csv", "dataset.csv.patient=who"), ("dataset.groups_csv=a.csv",)]
)
def test_files_of_a_folder_may_name_the_patients(composed, words: tuple[str, ...]) -> None:
    for key in ("stage.positives=patient", "stage.mask_same_patient=true"):
        assert not find_problems(composed(*FOLDER, key, *words))


def test_rules_of_parquet_files(composed) -> None:
    words = ("dataset=parquet", "dataset.path=cells")
    (found,) = find_problems(composed(*words, "dataset.val_fraction=0.5", "dataset.test_fraction=0.5"))
    assert "no training images are left. Lower their sum below 1." in found
    (found,) = find_problems(composed(*words, "stage.positives=patient"))
    assert "dataset=cells does not name the patient of each image" in found
    assert not find_problems(composed(*words, "stage.positives=patient", "dataset.patient=who"))
