"""The preview counts, shows and warns, for labelled sets and others, and can be looked at again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from simclr_med import build
from simclr_med.augment.sequence import OneView
from simclr_med.config.validate import find_problems, validate_config
from simclr_med.data.npz import Npz
from simclr_med.stages import preview as preview_module
from simclr_med.stages.preview import sequences_of

CONF = Path(__file__).parents[2] / "conf"

pytestmark = pytest.mark.usefixtures("small_pictures")
SMALL = ("stage.images=3", "stage.views=2", "stage.sequences=[natural]")


class WithoutTestImages(Npz):
    """A data set whose test images must not be read; its labels may."""

    def __init__(self, path: Path) -> None:
        super().__init__("noisy", str(path), None, None)

    def split(self, split: Any) -> Any:
        assert split == "train", f"{split} images are read"
        return super().split(split)


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was handed to the sheet of views."""
    given: list[tuple[Any, ...]] = []
    real = preview_module.plot_sequences
    monkeypatch.setattr(preview_module, "plot_sequences", lambda *args: given.append(args) or real(*args))
    return given


def test_counts_pictures_and_result(staged, result, noisy: Path, capsys, sheets) -> None:
    # Only the audit reads images of other splits than train; stage.audited=0 leaves it out.
    words = (*SMALL, "data_fraction.samples=20", "stage.audited=0")
    folder = staged("preview", *words, source=WithoutTestImages(noisy))
    table = pd.read_csv(folder / "counts.csv", index_col="class")
    assert table.columns.tolist() == ["train", "train, n20", "val", "test"]
    assert table.loc["all images"].tolist() == [48, 20, 24, 24]
    assert table.drop(index="all images").sum().tolist() == [48, 20, 24, 24]
    assert table.loc["1", ["train", "val", "test"]].tolist() == [16, 8, 8]
    message = capsys.readouterr().out
    assert "Warning: natural: random crops shrink to 8 px" in message
    assert "have fewer than 10 training images in data_fraction=n20" in message
    assert str(folder / "figures" / "sequences.png") in message
    assert "Not looked at for duplicates: 96 images. Use stage=audit." in message
    for name in ("originals.png", "sequences.png", "counts.png"):
        assert (folder / "figures" / name).read_bytes().startswith(b"\x89PNG")
    assert result(folder)["metrics"] == {"train/images": 48, "val/images": 24, "test/images": 24}
    assert len(result(folder)["tables"]["warnings"]) == 2


def test_the_views_are_those_of_the_sequence(staged, noisy: Path, composed, sheets) -> None:
    staged("preview", *SMALL, "seed=3")
    originals, names, blocks, _ = sheets[0]
    assert (originals.shape, sorted(names), list(blocks)) == (
        (3, 28, 28, 3),
        ["0", "1", "2"],
        ["microscopy", "natural"],
    )
    with np.load(noisy) as content:
        places = [np.flatnonzero((content["train_images"] == one).all(axis=(1, 2, 3))).item() for one in originals]
        assert [str(label) for label in content["train_labels"][places, 0]] == names
    cfg = validate_config(composed("augmentation=natural"))
    for step in range(2):
        expected = OneView(build.instantiate_node(cfg.augmentation))(
            torch.from_numpy(originals), (3, 0, step), (0, 3), 3
        )
        assert np.array_equal(blocks["natural"][:, step], expected.permute(0, 2, 3, 1).numpy())


def test_it_shows_images_of_each_class_and_looks_for_duplicates(staged, arrays, tmp_path, capsys, sheets) -> None:
    data = arrays()
    data["test_images"][5] = data["train_images"][6]  # classes 2 and 0
    np.savez(tmp_path / "twins.npz", **data)
    folder = staged("preview", *SMALL, path=tmp_path / "twins.npz")
    message = capsys.readouterr().out
    assert "Is this set safe to use? No: 1 of 24 test images (4.2%) has an exact or near duplicate" in message
    assert "1 pair of duplicates has different labels, such as test 5 and train 6." in message
    first, names, blocks, target = sheets[-1]
    assert (target, names) == (folder / "figures" / "originals.png", ["0", "1", "2"])
    drawn = np.concatenate([first[:, None] / 255, blocks["more of the class"]], axis=1)
    assert drawn.shape == (3, 5, 28, 28, 3)
    for code in range(3):
        members = data["train_images"][data["train_labels"][:, 0] == code] / 255
        shown = [next(row for row, one in enumerate(members) if np.allclose(one, image)) for image in drawn[code]]
        assert len(set(shown)) == 5


def test_a_class_of_few_images_has_gaps(staged, arrays, tmp_path: Path, sheets) -> None:
    data = arrays()
    data["train_labels"][:] = 0
    data["train_labels"][:2] = [[1], [2]]
    np.savez(tmp_path / "rare.npz", **data)
    staged("preview", *SMALL, path=tmp_path / "rare.npz")
    others = sheets[-1][2]["more of the class"]
    assert (others[1] == 1).all()
    assert not (others[0] == 1).all()


def test_it_is_done_again_whatever_is_there(staged) -> None:
    folder = staged("preview", *SMALL)
    (folder / "figures" / "sequences.png").unlink()
    assert staged("preview", *SMALL) == folder
    assert (folder / "figures" / "sequences.png").exists()


def test_a_set_without_labels(staged, arrays, tmp_path: Path, capsys, sheets) -> None:
    bare = {name: array for name, array in arrays(channels=1).items() if name.endswith("images")}
    np.savez(tmp_path / "bare.npz", **bare)
    folder = staged("preview", *SMALL, path=tmp_path / "bare.npz")
    assert pd.read_csv(folder / "counts.csv").to_csv(index=False) == "class,train,val,test\nall images,48,24,24\n"
    assert not (folder / "figures" / "counts.png").exists()
    assert [sheet[1] for sheet in sheets] == [["", "", ""]]
    assert "change nothing: the images are grey already" in capsys.readouterr().out


def test_several_labels_an_image_and_three_channels_without_colour(staged, arrays, tmp_path: Path, capsys) -> None:
    data = arrays(columns=4)
    data["train_images"][:] = data["train_images"][..., :1]
    np.savez(tmp_path / "many.npz", **data)
    folder = staged("preview", *SMALL, path=tmp_path / "many.npz")
    table = pd.read_csv(folder / "counts.csv", index_col="class")
    assert table["train"].tolist() == [*data["train_labels"].sum(axis=0).tolist(), 48]
    assert "the images are grey already" in capsys.readouterr().out


def test_the_runs_own_sequence_comes_first_and_equal_ones_once(composed) -> None:
    def names(*words: str) -> list[str]:
        return list(sequences_of(validate_config(composed("stage=preview", *words))))

    assert names() == ["microscopy", "natural", "simple", "novel", "greyscale"]
    assert names("augmentation=light", "stage.sequences=[simple]") == ["light", "simple"]
    assert names("augmentation=none", "stage.sequences=[]") == ["none"]
    own = names("augmentation=novel", "augmentation.ops=[]", "stage.sequences=[novel]")
    assert own == ["novel (as set here)", "novel"]


def test_an_unknown_sequence_is_one_line(composed) -> None:
    (line,) = find_problems(composed("stage=preview", "stage.sequences=[natural,nowel]"))
    assert line.startswith("stage.sequences=nowel: expected one of ")
    known = line.partition("expected one of ")[2].partition(". ")[0].split(", ")
    assert set(known) == {path.stem for path in (CONF / "augmentation").glob("*.yaml")} - {"none"}
