"""The model card: licence, scores with their intervals, and the sentences about memorised training images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_folders import write
from torch import nn

from simclr_med.data.synthetic.dataset import Synthetic
from simclr_med.errors import CheckpointError
from simclr_med.evaluation.memorization import Memorization
from simclr_med.models.encoders import tiny
from simclr_med.models.exports import Exported
from simclr_med.models.heads import linear_head
from simclr_med.stages import memorization
from simclr_med.stages.model_card import model_card
from simclr_med.stages.saved_run import read_saved_run

CLASSES = ("red", "green | blue", "\x1b[31mother")


def card(folder: Path, license: str = "unknown", privacy: str = "Nothing is known.") -> str:
    encoder = tiny().eval()
    exported = Exported(encoder, linear_head(encoder.width, 3), CLASSES, nn.Softmax(dim=1), 28)
    return model_card(read_saved_run(folder), exported, ["torch"], license, privacy)


def section(text: str, title: str) -> str:
    """The lines below a heading."""
    return text.split(f"## {title}\n")[1].split("\n## ")[0].strip()


def change_result(folder: Path, **values: Any) -> None:
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_licence_is_in_the_header_and_in_its_section(tmp_path: Path) -> None:
    text = card(write(tmp_path, "baseline"), license="cc-by-nc-4.0")
    header = yaml.safe_load(text.split("---\n")[1])
    assert header == {"license": "cc-by-nc-4.0", "tags": ["image-feature-extraction", "medical", "simclr"]}
    assert section(text, "License") == "cc-by-nc-4.0"


@pytest.mark.parametrize("license", ["own: see below", "two\nlines", "# none", "'"])
def test_the_header_holds_any_licence(tmp_path: Path, license: str) -> None:
    header = yaml.safe_load(card(write(tmp_path, "baseline"), license=license).split("---")[1])
    assert header["license"] == license


def test_scores_have_the_intervals_that_the_run_recorded(tmp_path: Path) -> None:
    folder = write(tmp_path, "baseline")
    metrics = {"test/auroc": 0.91264, "test/macro_f1": 0.5, "test/recall/0": 0.25, "val/auroc": 0.75}
    change_result(folder, metrics=metrics, intervals={"test/auroc": [0.88, 0.9349]})
    lines = section(card(folder), "Scores").splitlines()
    assert lines[0] == "On the test split; in brackets the 95 % interval over test images, where there is one."
    assert lines[2:] == ["| | |", "|---|---|", "| auroc | 0.913 (0.880 to 0.935) |", "| macro f1 | 0.500 |"]


def test_a_run_without_test_scores_says_why(tmp_path: Path) -> None:
    text = card(write(tmp_path, "pretrain"))
    assert section(text, "Scores") == "This run has no test scores: it trained without labels."


def test_data_recipe_and_limits_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, "baseline", budget="n100", seed=3)
    optimizer = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["optimizer"]
    text = card(folder, privacy="This was looked for.")
    rows = dict(line.strip("| ").split(" | ") for line in section(text, "Data").splitlines()[2:])
    assert rows == {"data set": "cells", "content hash": "sha256:abcdef", "label budget": "n100"}
    recipe = section(text, "Recipe").splitlines()
    assert {"| initial weights | random |", f"| optimizer.lr | {optimizer['lr']} |", "| seed | 3 |"} <= set(recipe)
    assert section(text, "Limits").splitlines()[-1] == "- This was looked for."
    assert "not a medical device" in section(text, "Limits")
    assert "classes: red, green | blue, " in text
    assert "\x1b" not in text


@pytest.mark.parametrize("values", [{"metrics": {"test/auroc": "high"}}, {"provenance": {}}])
def test_damaged_records_are_one_line(tmp_path: Path, values: dict[str, Any]) -> None:
    folder = write(tmp_path, "baseline")
    change_result(folder, **values)
    with pytest.raises(CheckpointError, match=r"its records are unreadable \(.+\)\. Use another run, or") as caught:
        card(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.19, "This is a sign of memorisation: share the weights only with those who may see the training"),
        (-0.05, 0.25, "This check found no memorisation. It cannot prove that there is none."),
        (-0.3, -0.1, "Test images are easier to classify here, so the comparison cannot show memorisation."),
    ],
)
def test_memorisation_is_a_verdict_with_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low: float, high: float, verdict: str
) -> None:
    source = Synthetic("cells", size=28, train=30, val=10, test=10, seed=0)
    folder = write(tmp_path, "pretrain", budget="full")
    found = Memorization(trained=0.6, held_out=0.5, low=low, high=high, images=(2000, 1234))
    monkeypatch.setattr(memorization, "measure_memorization", lambda *_: found)
    saved = read_saved_run(folder)
    text = memorization.describe_memorization(saved, tiny(), source, "sha256:abcdef")
    assert "correct for 60.0 % of 2,000 training and 50.0 % of 1,234 test images (mean over classes)." in text
    assert (
        f"+10.0 points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}, bootstrap over images). {verdict}" in text
    )
    assert f"\n- {text}\n" in card(folder, privacy=text)
    other = memorization.describe_memorization(saved, tiny(), source, "sha256:other")
    assert other.endswith(
        "because the images are not those of the run (repeat the export with the dataset keys of that run)."
    )
