"""The product on a GPU: `make test-gpu`. Skipped without CUDA.

SIMCLR_MED_TEST_DEVICE=cpu runs the same tests on the CPU, except those of CUDA itself, to try the tests without a GPU.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Callback
from torch import Tensor

from simclr_med import build
from simclr_med.augment.sequence import TwoViews, augmentation_generator, to_float
from simclr_med.cli.failures import describe_error
from simclr_med.config.validate import validate_config
from simclr_med.data import datamodule, device_images
from simclr_med.metrics_csv import read_rows
from simclr_med.models.losses import _Gather, nt_xent
from simclr_med.runs.run import open_run
from simclr_med.training import fit

DEVICE = torch.device(os.environ.get("SIMCLR_MED_TEST_DEVICE", "cuda"))
ON_CUDA = DEVICE.type == "cuda"
TRAINER = "trainer=gpu" if ON_CUDA else "trainer=cpu"
SEQUENCES = ("natural", "simple", "novel", "greyscale", "simclr", "light", "byol", "microscopy", "xray")
SMALL = ("dataset=synthetic", "dataset.train=192", "dataset.val=32", "dataset.test=48", "logger=none")
SHORT = (*SMALL, "stage=pretrain", "stage.batch_size=64", "stage.epochs=2", "schedule.warmup_epochs=0")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON_CUDA and not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
cuda_alone = pytest.mark.skipif(not ON_CUDA, reason="a test of CUDA itself")
Compose = Callable[..., Any]


def run_stage(composed: Compose, runs: Path, *overrides: str) -> Path:
    """Run one stage in this process and return its folder."""
    cfg = validate_config(composed(*overrides, f"paths.runs={runs}"))
    source = build.build_source(cfg)
    with open_run(cfg, source.content_hash(), build.instantiate_node(cfg.init)) as run:
        build.import_stage(run.cfg)(run, source)
    return run.folder


def read_losses(folder: Path) -> list[float]:
    return [float(row["train/loss"]) for row in read_rows(folder / "metrics.csv")]


def read_metrics(folder: Path) -> dict[str, float]:
    return dict(json.loads((folder / "result.json").read_text(encoding="utf-8"))["metrics"])


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Drawn cells, uint8 [96, 28, 28, 3]."""
    from simclr_med.data.synthetic import Synthetic

    source = Synthetic("synthetic", size=28, seed=0, train=96, val=8, test=8)
    return torch.from_numpy(np.array(source.split("train").images))


# Augmentation


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_op_gives_the_same_images_as_on_the_cpu(composed: Compose, images: Tensor, name: str) -> None:
    sequence = build.instantiate_node(composed(f"augmentation={name}").augmentation)
    here = to_float(images)
    parameters = sequence.sample(len(here), *here.shape[2:], augmentation_generator((0, 0, 0)))
    for op, values in zip(sequence.ops, parameters, strict=True):
        expected = op.apply(here, *values)
        found = op.apply(here.to(DEVICE), *values)
        assert found.device.type == DEVICE.type
        apart = (found.cpu() - expected).abs()
        # A value whose exact result lies between two levels may be rounded to either.
        assert float((apart > 1e-5).float().mean()) <= 1e-4, op.name
        assert float(apart.max()) <= 1.001 / 255, op.name
        here = expected


@pytest.mark.parametrize("name", SEQUENCES)
def test_views_are_those_of_the_cpu(composed: Compose, images: Tensor, name: str) -> None:
    views = TwoViews(build.instantiate_node(composed(f"augmentation={name}").augmentation))
    expected, found = (views(images.to(d), (0, 1, 2), (0, 96), 96) for d in (torch.device("cpu"), DEVICE))
    apart = (found.cpu() - expected).abs()
    assert float((apart > 1e-5).float().mean()) <= 1e-3
    assert float(apart.mean()) <= 1e-5


# Loss


@pytest.mark.parametrize("half", [False, True])
def test_nt_xent_is_that_of_float64(half: bool) -> None:
    exact = torch.randn(256, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = nt_xent(exact, 0.07)
    expected.backward()
    given = exact.detach().float().to(DEVICE).requires_grad_()
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=half):
        found = nt_xent(given, 0.07)
    found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert given.grad is not None
    assert exact.grad is not None
    error = (given.grad.cpu().double() - exact.grad).norm() / exact.grad.norm()
    assert float(error) < 1e-5


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of one process, with NCCL on a GPU."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("nccl" if ON_CUDA else "gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_gathering_one_process_changes_nothing() -> None:
    rows = torch.randn(8, 4, device=DEVICE, requires_grad=True)
    weights = torch.randn(8, 4, device=DEVICE)
    gathered = _Gather.apply(rows)
    (gathered * weights).sum().backward()
    assert torch.equal(gathered, rows)
    assert rows.grad is not None
    assert torch.equal(rows.grad, weights)


# Training


@pytest.mark.parametrize(
    ("precision", "augmentation", "first", "later"),
    [("64-true", "light", 1e-4, 1e-2), ("32-true", "light", 1e-3, 1e-2), ("tf32", "novel", 1e-2, 1e-2)],
)
def test_pretraining_has_the_losses_of_the_cpu(
    composed: Compose, tmp_path: Path, precision: str, augmentation: str, first: float, later: float
) -> None:
    """Views are computed in float32, and training amplifies their rounding: later epochs agree less than the first."""
    line = (*SHORT, "encoder=resnet18", f"augmentation={augmentation}")
    found = run_stage(composed, tmp_path / "gpu", *line, TRAINER, f"trainer.precision={precision}")
    exact = "64-true" if precision == "64-true" else "32-true"
    expected = run_stage(composed, tmp_path / "cpu", *line, "trainer=cpu", f"trainer.precision={exact}")
    pairs = list(zip(read_losses(found), read_losses(expected), strict=True))
    assert pairs[0][0] == pytest.approx(pairs[0][1], rel=first)
    for loss, reference in pairs[1:]:
        assert loss == pytest.approx(reference, rel=later)


def test_bf16_has_nearly_the_losses_of_float32(composed: Compose, tmp_path: Path) -> None:
    line = (*SHORT, "encoder=resnet18", TRAINER)
    found = run_stage(composed, tmp_path / "half", *line, "trainer.precision=bf16-mixed")
    expected = run_stage(composed, tmp_path / "whole", *line, "trainer.precision=32-true")
    assert read_losses(found) == pytest.approx(read_losses(expected), rel=0.05)


def test_images_that_do_not_fit_on_the_gpu_give_the_same_losses(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[int] = []

    def copy_and_count(images: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
        copies.append(len(rows))
        return device_images.copy_to_device(images, rows, device)

    monkeypatch.setattr(datamodule, "copy_to_device", copy_and_count)
    line = (*SHORT, "encoder=tiny", TRAINER)
    resident = run_stage(composed, tmp_path / "resident", *line)
    assert copies == ([192] if ON_CUDA else [])  # once, not in each epoch
    monkeypatch.setattr(device_images, "SHARE", 0.0)
    streamed = run_stage(composed, tmp_path / "streamed", *line)
    assert len(copies) <= 1
    assert read_losses(resident) == read_losses(streamed)


class _NoWaiting(Callback):
    """Makes torch raise where a training step waits for the GPU; the first and the last step of an epoch may."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if ON_CUDA and 0 < batch_idx < trainer.num_training_batches - 1:
            torch.cuda.set_sync_debug_mode("error")
            self.steps += 1

    def on_train_batch_end(self, *arguments: Any) -> None:
        if ON_CUDA:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("augmentation", ["novel", "simclr"])
def test_no_training_step_waits_for_the_gpu(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmentation: str
) -> None:
    watch, build_trainer = _NoWaiting(), fit.build_trainer

    def build_watched(*arguments: Any, callbacks: Any, **named: Any) -> Any:
        return build_trainer(*arguments, callbacks=[*callbacks, watch], **named)

    monkeypatch.setattr(fit, "build_trainer", build_watched)
    try:
        run_stage(composed, tmp_path, *SHORT, "stage.batch_size=32", f"augmentation={augmentation}", TRAINER)
    finally:
        watch.on_train_batch_end()
    assert watch.steps == (8 if ON_CUDA else 0)


@cuda_alone
def test_cuda_graphs_give_the_losses_of_the_eager_encoder(composed: Compose, tmp_path: Path) -> None:
    line = (*SHORT, "encoder=resnet18", TRAINER, "stage.monitor_every=1")
    eager = run_stage(composed, tmp_path / "eager", *line)
    recorded = run_stage(composed, tmp_path / "recorded", *line, "trainer.cuda_graphs=true")
    assert read_losses(recorded) == pytest.approx(read_losses(eager), rel=1e-3)
    # Recording leaves the running statistics of batch normalisation as they were.
    name = "val/knn_accuracy"
    found, expected = (read_rows(folder / "metrics.csv")[-1] for folder in (recorded, eager))
    assert float(found[name]) == pytest.approx(float(expected[name]), abs=0.1)


def test_killed_run_resumes_with_identical_weights(tmp_path: Path) -> None:
    def line(runs: Path) -> list[str]:
        own = ("stage.epochs=40", "stage.checkpoint_every_s=0", "stage.monitor_every=20", "trainer.threads=1")
        encoder = "encoder=resnet18" if ON_CUDA else "encoder=tiny"
        return [sys.executable, "-m", "simclr_med", *SHORT, *own, encoder, TRAINER, f"paths.runs={runs}"]

    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    whole = subprocess.Popen(line(tmp_path / "whole"), stdout=subprocess.DEVNULL, env=environment)
    runs = tmp_path / "killed"
    process = subprocess.Popen(line(runs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        table = next(iter(runs.glob("pretrain/*/*/metrics.csv")), None)
        if table and len(read_rows(table)) >= 2:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert whole.wait(timeout=300) == 0
    done = subprocess.run(line(runs), capture_output=True, text=True, check=True, env=environment)
    assert "resuming from epoch" in done.stdout
    assert "another environment" not in done.stdout
    one, two = (next((tmp_path / name).glob("pretrain/*/*")) for name in ("whole", "killed"))
    assert read_losses(one) == read_losses(two)
    assert (one / "encoder.safetensors").read_bytes() == (two / "encoder.safetensors").read_bytes()


@pytest.mark.skipif(ON_CUDA and torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_processes_have_the_losses_of_one(command: Any, tmp_path: Path) -> None:
    line = (*SHORT, "encoder=tiny", "trainer.precision=64-true", "stage.batch_size=32")
    two = "trainer=gpu" if ON_CUDA else "trainer=ddp_cpu"
    losses = []
    for name, words in {"one": (TRAINER,), "two": (two, "trainer.devices=2")}.items():
        done = command(*line, *words, f"paths.runs={tmp_path / name}")
        assert done.returncode == 0, done.stdout + done.stderr
        losses.append(read_losses(next((tmp_path / name).glob("pretrain/*/*"))))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# Stages and messages


def test_stages_after_pretraining(composed: Compose, tmp_path: Path) -> None:
    """Probe, finetune, test, analyse and predict on the device; the CPU scores the trained classifier alike."""
    data = ("encoder=tiny", *SMALL)
    run_stage(composed, tmp_path, *SHORT, "encoder=tiny", TRAINER)
    probe = run_stage(composed, tmp_path, "stage=probe", *data, TRAINER)
    tuned = run_stage(
        composed,
        tmp_path,
        "stage=finetune",
        "stage.epochs=2",
        "stage.min_steps=0",
        "schedule.warmup_epochs=0",
        *data,
        TRAINER,
    )
    assert 0.0 <= read_metrics(probe)["test/accuracy"] <= 1.0
    model = (*data, f"stage.run={tuned}")
    scored = run_stage(composed, tmp_path / "cpu", "stage=test", *model, "trainer=cpu")
    for name in ("test/auroc", "test/accuracy"):
        assert read_metrics(scored)[name] == pytest.approx(read_metrics(tuned)[name], abs=1e-3)
    predicted = run_stage(composed, tmp_path, "stage=predict", *model, TRAINER)
    assert len((predicted / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 1 + 192 + 32 + 48
    small = ("stage.points=40", "stage.perplexities=[5]", "stage.queries=2", "stage.cams=1")
    analysed = run_stage(composed, tmp_path, "stage=analyse", "init=model", *model, *small, TRAINER)
    assert list((analysed / "figures").glob("*.png"))


@cuda_alone
def test_auto_takes_the_gpu_and_names_it(composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage(composed, tmp_path, *SHORT, "encoder=tiny", "stage.epochs=1", "trainer=auto")
    precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"Device: {torch.cuda.get_device_name()}, precision {precision}"


@cuda_alone
def test_too_little_memory_is_one_line_that_names_the_batch_size(composed: Compose, tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 3e8) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            run_stage(composed, tmp_path, *SHORT, "encoder=resnet50", "dataset.size=224", TRAINER)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    problems, _ = describe_error(caught.value)
    assert len(problems) == 1
    assert "Lower stage.batch_size" in problems[0]
