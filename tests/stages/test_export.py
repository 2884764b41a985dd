"""Stage export: the files of a pretraining run and of a classifier, with a model card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from simclr_med.config.validate import find_problems
from simclr_med.errors import ConfigError, RunError

ONE = ("stage.epochs=1", "stage.batch_size=8", "trainer.limit_steps=1", "schedule.warmup_epochs=0")


@pytest.mark.usefixtures("small_pictures")
def test_an_encoder_and_a_classifier(staged, result) -> None:
    pretrained = staged("pretrain", *ONE)
    folder = staged("export", "dataset=synthetic", f"stage.run={pretrained}", "stage.size=28")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "An encoder: RGB images of 28x28 pixels to 64 features." in card
    assert "it trained without labels" in card
    assert "cannot be computed, because the images are not those of the run" in card
    program = torch.export.load(folder / "model.pt2").module()
    assert program(torch.rand(5, 3, 28, 28)).shape == (5, 64)

    probe = staged("probe", "stage.resamples=0", "stage.solvers.logistic.points=2")
    folder = staged("export", "dataset=synthetic", f"stage.run={probe}", "stage.size=28", "stage.license=cc-by-4.0")
    assert folder.name == probe.name
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert "classes: 0, 1, 2." in card
    accuracy, (low, high) = (result(probe)[key]["test/accuracy"] for key in ("metrics", "intervals"))
    assert f"| accuracy | {accuracy:.3f} ({low:.3f} to {high:.3f}) |" in card
    assert "optimizer" not in card  # a probe has none
    program = torch.export.load(folder / "model.pt2").module()
    torch.testing.assert_close(program(torch.rand(5, 3, 28, 28)).sum(dim=1), torch.ones(5))
    with pytest.raises(ConfigError, match=r"^stage\.size=null: this run did not record the size"):
        staged("export", "dataset=synthetic", f"stage.run={probe}")


@pytest.mark.usefixtures("small_pictures")
def test_the_card_says_what_the_weights_tell_about_training_images(staged) -> None:
    pretrained = staged("pretrain", *ONE)
    card = (staged("export", f"stage.run={pretrained}", "stage.size=28") / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in card.splitlines() if line.startswith("- Memorisation of training images")]
    assert "% of 48 training and " in line
    assert "% of 24 test images (mean over classes). The difference is " in line
    probe = staged("probe", "stage.resamples=0", "stage.solvers.logistic.points=2")
    card = (staged("export", f"stage.run={probe}", "stage.size=28") / "README.md").read_text(encoding="utf-8")
    assert "because it needs a pretrain, finetune or baseline run, found probe (export the run of the encoder)." in card
    part = staged("pretrain", *ONE, "data_fraction=n50", "data_fraction.samples=20")
    card = (staged("export", f"stage.run={part}", "stage.size=28") / "README.md").read_text(encoding="utf-8")
    assert "because the encoder was trained on a part of the training split." in card


@pytest.mark.usefixtures("small_pictures")
def test_images_without_single_labels_cannot_tell(staged, arrays, tmp_path: Path) -> None:
    several = tmp_path / "several.npz"
    np.savez(several, **arrays(classes=2, columns=3))
    bare = tmp_path / "bare.npz"
    np.savez(bare, **{key: value for key, value in arrays().items() if key.endswith("images")})
    for path, reason in (
        (several, "it is not defined for images with several labels"),
        (bare, "training, validation and test images with labels are needed"),
    ):
        folder = staged("pretrain", *ONE, path=path)
        card = staged("export", f"stage.run={folder}", "stage.size=28", path=path) / "README.md"
        assert f"because {reason}." in card.read_text(encoding="utf-8")


def test_mistakes_are_one_line(staged, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^stage\.run=.*: not the folder of a finished run\."):
        staged("export", "dataset=synthetic", f"stage.run={tmp_path}")
    with pytest.raises(ConfigError, match=r"stage\.format=\['tflite'\]: expected some of timm, onnx, torch\."):
        staged("export", "dataset=synthetic", f"stage.run={tmp_path}", "stage.format=[tflite]")
    with pytest.raises(
        ConfigError, match=r"stage\.push_to_hub=me/it: uploads the folder for timm\. Add stage\.format="
    ):
        staged("export", "dataset=synthetic", f"stage.run={tmp_path}", "stage.push_to_hub=me/it")
    with pytest.raises(ConfigError, match=r"stage\.push_to_hub=it: expected <user>/<name>"):
        staged("export", "dataset=synthetic", f"stage.run={tmp_path}", "stage.push_to_hub=it")


def test_the_folder_has_the_name_of_the_run_however_it_is_given(composed, tmp_path: Path, monkeypatch) -> None:
    run = tmp_path / "n50-s0-0123456789"
    (run / "figures").mkdir(parents=True)
    (tmp_path / "newest").symlink_to(run)
    monkeypatch.chdir(run)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in (".", "figures/..", str(run), f"{run}/", f"{run}/.", "../newest", f"~/{run.name}"):
        cfg = composed("stage=export", f"stage.run='{given}'")
        assert find_problems(cfg) == []
        assert cfg.stage.folder == run.name
    assert composed("stage=export", "stage.run=a/b").stage.folder == "b"
    (problem,) = find_problems(composed("stage=export", "stage.run=/"))
    assert problem.startswith("stage.folder=: expected the name of one folder")


@pytest.mark.parametrize("word", ["init=random", "init=pretrained", "init=model", "init.run=b"])
def test_no_other_model_is_exported(composed, word: str) -> None:
    problems = find_problems(composed("stage=export", "stage.run=a", word))
    assert problems == [f"{word}: not used by stage=export, which exports the model of stage.run. Remove it."]


def test_a_run_without_an_encoder_is_named_by_the_key_that_was_typed(staged, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match=r"^stage\.run=.*: not the folder of a finished pretraining run\."):
        staged("export", "dataset=synthetic", f"stage.run={tmp_path}")
