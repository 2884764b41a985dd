"""Files that changed after their run finished: every reader refuses them in one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from faults.flipped_files import targets
from faults.flips import try_flips
from run_folders import forget_hashes

from simclr_med.errors import CheckpointError
from simclr_med.models.encoder_files import save_encoder
from simclr_med.models.encoders import set_option, tiny
from simclr_med.runs.init import model
from simclr_med.stages.saved_model import load_saved_model

FIT = ("stage.epochs=1", "schedule.warmup_epochs=0", "stage.batch_size=16")
PROBE = ("init=pretrained", "stage.resamples=0")
FINETUNE = (*PROBE, *FIT, "stage.min_steps=0", "stage.projection_layers=1")
CHANGED = "has changed since the run finished (result.json records another hash). Restore it, or repeat the run"


@pytest.fixture
def pretrained(staged) -> Path:
    return staged("pretrain", *FIT, "keep=all", "stage.checkpoint_every_s=0")


def refused(file: Path, action) -> None:
    with pytest.raises(CheckpointError) as caught:
        action()
    (line,) = caught.value.problems
    assert line == f"{file}: {CHANGED} with overwrite=true."


def with_metadata(path: Path, **changes: str) -> None:
    with safetensors.safe_open(path, "pt") as file:
        state, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    safetensors.torch.save_file(state, path, metadata | changes)


def another_encoder(path: Path) -> None:
    torch.manual_seed(7)
    encoder = tiny()
    set_option(encoder, {"name": "tiny"})
    save_encoder(path, encoder, {})


def test_an_encoder_replaced_by_another_valid_one(staged, pretrained: Path) -> None:
    probe, file = staged("probe", *PROBE), pretrained / "encoder.safetensors"
    another_encoder(file)
    refused(file, lambda: staged("test", f"stage.run={probe}"))
    refused(file, lambda: staged("analyse", "init=model", f"stage.run={probe}"))
    refused(file, lambda: staged("probe", *PROBE, "overwrite=true"))
    refused(file, lambda: staged("probe", f"init.run={pretrained}", "stage.resamples=0", "seed=1"))
    refused(file, lambda: staged("finetune", *FINETUNE))


@pytest.mark.parametrize("change", ["classes", "bit", "config"])
def test_a_changed_head_or_config(staged, change: str) -> None:
    probe = staged("probe", "init=random", "stage.resamples=0")
    file = probe / ("config.yaml" if change == "config" else "head.safetensors")
    if change == "classes":
        with_metadata(file, classes='["1", "0", "2"]')
    elif change == "bit":
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.write_text(file.read_text().replace("0.5", "0.4"))
    for stage in ("test", "predict", "analyse"):
        refused(file, lambda stage=stage: staged(stage, "init=model", f"stage.run={probe}"))


def test_an_encoder_planted_beside_a_probe(staged) -> None:
    probe = staged("probe", "init=random", "stage.resamples=0")
    another_encoder(probe / "encoder.safetensors")
    refused(probe / "encoder.safetensors", lambda: load_saved_model(probe))


def test_runs_without_recorded_hashes_open_with_one_line_each(staged, pretrained: Path, capsys) -> None:
    tuned, probe = staged("finetune", *FINETUNE), staged("probe", *PROBE)
    for folder in (pretrained, tuned, probe):
        forget_hashes(folder)
    for stage, words, opened in (
        ("test", (f"stage.run={tuned}",), [tuned]),
        ("test", (f"stage.run={probe}",), [probe, pretrained]),
        ("finetune", (*FINETUNE, "overwrite=true"), [pretrained]),
    ):
        capsys.readouterr()
        staged(stage, *words)
        lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be verified" in line]
        assert [line.partition(": recorded no hashes")[0] for line in lines] == list(map(str, opened))


def test_the_identity_of_a_saved_model_covers_its_encoder(staged) -> None:
    tuned = staged("baseline", *FIT, "stage.min_steps=0", "stage.resamples=0")
    before = model(str(tuned)).hash
    another_encoder(tuned / "encoder.safetensors")
    assert model(str(tuned)).hash != before
    refused(tuned / "encoder.safetensors", lambda: staged("test", f"stage.run={tuned}"))


def test_a_flipped_byte_changes_no_number(staged, pretrained: Path, arrays, tmp_path: Path, monkeypatch) -> None:
    """The whole campaign is `python tests/faults/flips.py`."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, *_: tmp_path / "cache" / name)
    staged("probe", *PROBE)
    staged("finetune", *FINETUNE)
    np.savez(tmp_path / "mapped.npz", **arrays())
    counts = Counter(
        (kind, outcome) for kind, outcome, _ in try_flips(targets(tmp_path / "runs", tmp_path / "mapped.npz"), 99)
    )
    outcomes = {outcome for _, outcome in counts}
    assert outcomes <= {"refused", "repaired", "identical"}, counts
    for kind in ("head", "predictions", "finetuned encoder", "projection head", "encoder of a probe"):
        assert counts[kind, "refused"] == 11, "the record covers every byte"
    assert counts["mapped npy", "repaired"]
    assert counts["features cache", "repaired"]
    assert counts["last.ckpt", "refused"]
