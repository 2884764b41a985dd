"""Pairs of images of the same patient: who may be drawn, how often, and what an unusable data set says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from folder_sources import build_folder
from PIL import Image

from simclr_med.data.npz import Npz
from simclr_med.data.same_patient import SamePatient, find_same_patient
from simclr_med.errors import DataError

PATIENTS = ["a", "b", "a", None, "c", "a", "b", None, "a"]


def test_partners_are_other_images_of_the_same_patient() -> None:
    pairs = SamePatient(PATIENTS)
    alone = {position for position, name in enumerate(PATIENTS) if name is None or PATIENTS.count(name) == 1}
    for step in range(50):
        positions = np.random.default_rng(step).permutation(len(PATIENTS))[:7]
        partners = pairs.draw_partners(positions, (0, 0, step))
        for own, other in zip(positions.tolist(), partners.tolist(), strict=True):
            assert (own == other) == (own in alone)
            assert own == other or PATIENTS[own] == PATIENTS[other]


def test_every_other_image_is_equally_likely() -> None:
    pairs = SamePatient(PATIENTS)
    drawn = Counter(int(pairs.draw_partners(np.array([2]), (0, 0, step))[0]) for step in range(3000))
    assert set(drawn) == {0, 5, 8}
    assert all(abs(count - 1000) < 4 * (3000 * 2 / 9) ** 0.5 for count in drawn.values())


def test_draw_depends_on_seed_epoch_and_step_alone() -> None:
    patients, positions = ["x"] * 200, np.arange(200)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    drawn = [SamePatient(patients).draw_partners(positions, key).tobytes() for key in keys]
    assert len(set(drawn)) == 4
    assert drawn[0] == SamePatient(patients).draw_partners(positions, keys[0]).tobytes()


def test_images_without_a_patient_are_of_different_patients() -> None:
    numbers = SamePatient([None, "0", None, "0"]).numbers_N
    assert numbers[1] == numbers[3]
    assert len(set(numbers.tolist())) == 3


def test_note_counts_images_and_patients() -> None:
    note = SamePatient(PATIENTS).note
    assert note == "6 of 9 training images share their patient with another one (5 patients)."


def build_npz(folder: Path, rows: list[str] | None) -> Npz:
    content = {f"{split}_images": np.zeros((6, 8, 8), np.uint8) for split in ("train", "val")}
    np.savez(folder / "scans.npz", **content)
    csv = folder / "patients.csv"
    csv.write_text("\n".join(["split,row,patient", *(rows or ())]))
    return Npz("scans", str(folder / "scans.npz"), None, None, None if rows is None else str(csv))


def test_patients_of_the_selected_images_decide(tmp_path: Path) -> None:
    source = build_npz(tmp_path, ["train,0,a", "train,5,a", "train,3,b", "val,1,b"])
    assert find_same_patient(source, np.array([5, 3, 0])).numbers_N.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="no two of the 2 training images are of the same patient") as raised:
        find_same_patient(source, np.array([3, 0]))
    assert len(raised.value.problems) == 1


def test_a_data_set_without_patients_is_refused(tmp_path: Path) -> None:
    write_pngs(tmp_path / "folder")
    for source in (build_npz(tmp_path, None), build_folder(tmp_path / "folder")):
        with pytest.raises(DataError, match="need the patient of each image") as raised:
            find_same_patient(source, np.arange(6))
        assert "dataset.csv.patient (folder) or dataset.patient (parquet), or remove both." in str(raised.value)


def write_pngs(folder: Path) -> Path:
    """Ten images, and a CSV with their classes and five patients."""
    folder.mkdir()
    for number in range(10):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(folder / f"{number}.png")
    rows = [f"{number}.png,{'ab'[number % 2]},p{number // 2}" for number in range(10)]
    (folder.parent / "about.csv").write_text("\n".join(["file,class,who", *rows]))
    return folder


def test_a_column_of_a_csv_names_the_patients_of_a_folder(tmp_path: Path) -> None:
    folder = write_pngs(tmp_path / "folder")
    columns = {"path": str(tmp_path / "about.csv"), "file": "file", "patient": None, "label": "class", "split": None}
    with pytest.raises(DataError, match="need the patient of each image"):
        find_same_patient(build_folder(folder, csv=columns), np.arange(5))
    source = build_folder(folder, csv=columns | {"patient": "who"})
    images = len(source.names("train"))
    assert find_same_patient(source, np.arange(images)).images_with_partner == images >= 2


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        (["train,0,a", "train,0,b"], "several patients for train 0"),
        (["train,6,a"], "train has 6 images, rows 0 to 5; found row 6"),
        (["train,-1,a"], "line 2: expected a row number"),
        (["training,1,a"], "line 2: expected train, val or test"),
    ],
)
def test_a_csv_that_does_not_fit_is_one_line(tmp_path: Path, rows: list[str], rule: str) -> None:
    with pytest.raises(DataError, match=rule) as raised:
        build_npz(tmp_path, rows).patients("train")
    (line,) = raised.value.problems
    assert line.startswith("dataset.groups_csv=")
    assert "\n" not in line


def test_a_missing_or_empty_csv_is_one_line(tmp_path: Path) -> None:
    source = build_npz(tmp_path, [])
    (tmp_path / "patients.csv").write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        source.patients("train")
    (tmp_path / "patients.csv").unlink()
    with pytest.raises(DataError, match=r"dataset\.groups_csv=.*not a readable CSV"):
        source.content_hash()


def test_patients_are_part_of_the_content(tmp_path: Path) -> None:
    plain = build_npz(tmp_path, None).content_hash()
    one = build_npz(tmp_path, ["train,0,a"]).content_hash()
    other = build_npz(tmp_path, ["train,0,b"]).content_hash()
    assert len({plain, one, other}) == 3
