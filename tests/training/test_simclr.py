"""SimCLR as a Lightning module: one forward pass for both views, its metrics, and no learning from labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.metrics_csv import read_rows
from simclr_med.models.losses import similarity_logits
from simclr_med.runs.identity import Init
from simclr_med.runs.run import open_run
from simclr_med.stages.pretrain import build_module, pretrain
from simclr_med.stages.setup import load_images
from simclr_med.training.simclr import METRICS

RANDOM_INIT = Init("random", "random")
QUICK = ("encoder=tiny", "stage.epochs=2", "stage.batch_size=16", "logger=none", "trainer=cpu", "trainer.threads=1")


def opening_of(composed, folder: Path, cells: Path, *words: str):
    cfg = validate_config(composed("dataset=npz", f"dataset.path={cells}", f"paths.runs={folder}", *QUICK, *words))
    return open_run(cfg, "d", RANDOM_INIT), build.build_source(cfg)


def test_both_views_go_through_one_forward(composed, tmp_path, cells) -> None:
    opening, source = opening_of(composed, tmp_path, cells)
    with opening as run:
        data = load_images(run, source)
        module = build_module(run, data)
        seen: list[int] = []
        module.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
        batch = next(iter(data.val_dataloader()))
        module.project(batch)
        assert seen == [2 * len(batch.images)]


def weights(folder: Path) -> dict[str, bytes]:
    state = safetensors.torch.load_file(next(folder.glob("pretrain/*/*")) / "encoder.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def test_run_leaves_every_file_and_repeats_exactly(composed, tmp_path, cells, capsys) -> None:
    for name in ("one", "two"):
        opening, source = opening_of(composed, tmp_path / name, cells)
        with opening as run:
            pretrain(run, source)
    files = [next((tmp_path / name).glob("pretrain/*/*")) / "encoder.safetensors" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    left = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert left == {
        *("config.yaml", "result.json", "metrics.csv", "encoder.safetensors"),
        *("figures/training.png", "figures/views.png", "projection_head.safetensors"),
    }
    table = read_rows(run.folder / "metrics.csv")
    assert [row["epoch"] for row in table] == ["0", "1"]
    assert set(table[0]) == {"epoch", "step", *METRICS, "wall_s"}
    assert all(table[-1].values()), table[-1]
    result = run.result()
    assert result["metrics"]["train/loss"] == float(table[-1]["train/loss"])
    monitors = {"val/knn_accuracy", "val/knn_accuracy_before", "val/probe_auroc", "val/probe_auroc_before"}
    assert {"val/loss", *monitors} <= set(result["metrics"])
    assert str(run.folder) in capsys.readouterr().out


def test_labels_do_not_change_weights(composed, tmp_path, cells) -> None:
    with np.load(cells) as content:
        shuffled = {name: array[::-1] if name.endswith("labels") else array for name, array in content.items()}
    np.savez(tmp_path / "other.npz", **shuffled)
    for name, path in (("one", cells), ("two", tmp_path / "other.npz")):
        opening, source = opening_of(composed, tmp_path / name, path)
        with opening as run:
            pretrain(run, source)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_data_without_labels_has_no_label_monitors(composed, tmp_path, cells) -> None:
    with np.load(cells) as content:
        np.savez(tmp_path / "bare.npz", **{name: array for name, array in content.items() if name.endswith("images")})
    opening, source = opening_of(composed, tmp_path, tmp_path / "bare.npz")
    with opening as run:
        pretrain(run, source)
    metrics = run.result()["metrics"]
    assert "val/loss" in metrics
    assert not [name for name in metrics if "knn" in name]


def test_pretraining_never_opens_the_test_split(composed, tmp_path, cells) -> None:
    opening, source = opening_of(composed, tmp_path, cells)
    read = source.split

    class Guarded:
        """The source, but touching the test split fails."""

        def __getattr__(self, name: str):
            return getattr(source, name)

        def split(self, split: str):
            assert split != "test", "the test split was opened"
            return read(split)

    with opening as run:
        pretrain(run, Guarded())  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="was opened"):
            Guarded().split("test")


def test_batch_size_is_limited_to_the_data(composed, tmp_path, cells, capsys) -> None:
    opening, source = opening_of(composed, tmp_path, cells, "stage.batch_size=64")
    with opening as run:
        pretrain(run, source)
    assert "stage.batch_size=64 is larger than the 40 training images; using 40." in capsys.readouterr().out


def test_accumulation_takes_negatives_from_the_micro_batch(composed, tmp_path, cells, capsys) -> None:
    opening, source = opening_of(composed, tmp_path, cells, "stage.accumulate=2")
    with opening as run:
        pretrain(run, source)
    assert "negatives come from a micro-batch of 8 of 16 images" in capsys.readouterr().out
    # Two optimizer steps an epoch: 40 images in batches of 16, each of two micro-batches.
    assert read_rows(run.folder / "metrics.csv")[-1]["step"] == "4"


def test_learning_rate_follows_the_schedule_by_step(composed, tmp_path, cells) -> None:
    opening, source = opening_of(composed, tmp_path, cells, "stage.epochs=4")
    with opening as run:
        pretrain(run, source)
    seen = [float(row["train/learning_rate"]) for row in read_rows(run.folder / "metrics.csv")]
    # Recorded after each epoch's last step of two: the factor of the step that comes next.
    steps = torch.tensor([2.0, 4.0, 6.0, 8.0])
    expected = 5e-4 * (0.02 + 0.98 * (1 + torch.cos(torch.pi * steps / 8)) / 2)
    np.testing.assert_allclose(seen, expected.numpy(), rtol=1e-6)


def test_further_pretraining_starts_a_new_run_from_weights(composed, tmp_path, cells) -> None:
    opening, source = opening_of(composed, tmp_path, cells)
    with opening as first:
        pretrain(first, source)
    words = ("dataset=npz", f"dataset.path={cells}", f"paths.runs={tmp_path}", *QUICK)
    cfg = validate_config(composed(*words, "init=pretrained"))
    init = build.instantiate_node(cfg.init)
    assert init.run == first.folder
    with open_run(cfg, "d", init) as run:
        assert run.state == "pending"
        pretrain(run, build.build_source(cfg))
    assert run.folder != first.folder
    assert run.result()["provenance"]["init"]["run"] == first.folder.name
    assert run.result()["metrics"]["val/knn_accuracy_before"] == first.result()["metrics"]["val/knn_accuracy"]


@pytest.mark.parametrize(
    ("epochs", "expected"), [(5, [False, True, False, True, True]), (4, [False, True, False, True])]
)
def test_validation_runs_every_n_epochs_and_after_the_last(
    composed, tmp_path, cells, epochs: int, expected: list[int]
) -> None:
    opening, source = opening_of(composed, tmp_path, cells, f"stage.epochs={epochs}", "stage.monitor_every=2")
    with opening as run:
        pretrain(run, source)
    table = read_rows(run.folder / "metrics.csv")
    assert [bool(row["val/loss"]) for row in table] == expected
    assert [bool(row["val/knn_accuracy"]) for row in table] == expected


def test_each_metric_stands_under_its_own_name(composed, tmp_path, cells) -> None:
    opening, source = opening_of(composed, tmp_path, cells)
    with opening as run:
        data = load_images(run, source)
        module = build_module(run, data)
        batch = next(iter(data.val_dataloader()))
        with torch.no_grad():
            features, projections = module.project(batch)
        retrieval = module._retrieval_metrics(projections)
        logits, targets = similarity_logits(projections, 0.07)
    own_view = logits.gather(1, targets[:, None])
    ranks = (logits > own_view).sum(dim=1)
    assert float(retrieval["train/top1"]) == pytest.approx(float((ranks == 0).float().mean()))
    assert float(retrieval["train/top5"]) == pytest.approx(float((ranks < 5).float().mean()))
    assert float(retrieval["train/mean_rank"]) == pytest.approx(float(ranks.float().mean()))
    assert features.shape == (32, 64)


def test_a_precision_that_the_cpu_lacks_is_said_once(composed, tmp_path, cells, capsys, recwarn) -> None:
    opening, source = opening_of(composed, tmp_path, cells, "trainer.precision=16-mixed", "stage.epochs=1")
    with opening as run:
        pretrain(run, source)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "Device: cpu, precision bf16-mixed",
        "trainer.precision=16-mixed is not available on this device; using bf16-mixed.",
    ]
    assert not [warning for warning in recwarn if "fp16" in str(warning.message)]
