"""Speed of pretraining on a GPU, as a table in Markdown (make bench-gpu).

    python benchmarks/gpu.py [--quick] [--json FILE] [--device cuda]

    train     images/s of the training step through the product's Trainer: median (min-max) of the epochs but the first
    kernels   the same network, loss and optimizer on random views: no data, no augmentation, no Lightning. The share
              is train / kernels.
    augment   two views of a batch on the device, in a row of steps, and the part of the CPU, which draws the
              parameters and starts the work
    peers     the thesis's pipeline and lightly (see pretrain.py) with one worker process per core
    start     from the command to the end of its first step, in a new process
One image is two views. Rates are images of the global batch per second, after a wait for the GPU; times of kernels and
augment come from CUDA events. --quick takes less than three minutes. --device=cpu tries the script itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from images import write_data
from machine import describe_machine, list_versions
from processes import build_environment, time_process
from spread import format_spread, spread
from torch import Tensor

from simclr_med import build
from simclr_med.config.registry import register
from simclr_med.config.validate import validate_config
from simclr_med.metrics_csv import read_rows
from simclr_med.models.losses import nt_xent
from simclr_med.runs.run import open_run
from simclr_med.stages.frame import StageFrame, numerics_environment
from simclr_med.stages.pretrain import build_module
from simclr_med.stages.setup import build_training_setup
from simclr_med.training.callbacks.checkpoint import Checkpoints
from simclr_med.training.callbacks.collapse import CollapseGuard
from simclr_med.training.callbacks.cuda_graphs import record_forward
from simclr_med.training.callbacks.metrics_csv import MetricsCsv
from simclr_med.training.callbacks.progress import ProgressLine
from simclr_med.training.devices import set_gpu_arithmetic
from simclr_med.training.simclr import METRICS

HERE = Path(__file__).parent
MODES = {
    "fp32": ("32-true", False),
    "tf32": ("tf32", False),
    "bf16": ("bf16-mixed", False),
    "bf16, graphs": ("bf16-mixed", True),
}
LARGE = 64  # pixels
WARM_UP, STEPS, REPEATS = 5, 20, 3  # of kernels and augment
PEER_STEPS, PEER_WARM_UP = 100, 50  # sixteen workers prepare 32 batches ahead


@dataclass(frozen=True)
class Case:
    """One measured setting."""

    encoder: str
    side: int
    batch_size: int
    mode: str


def list_cases(is_quick: bool, encoders: Sequence[tuple[str, int]], batches: Sequence[int]) -> list[Case]:
    """Return the settings.

    Images above 64 pixels take half the batch sizes, for the memory. A quick run leaves settings out.
    """
    cases = []
    for encoder, side in encoders:
        is_large = side > LARGE
        sizes = [size // 2 if is_large else size for size in batches]
        shown = sizes if not is_quick else sizes[:1] if is_large else [sizes[0], sizes[-1]]
        modes = ("tf32", "bf16", "bf16, graphs") if is_quick and is_large else tuple(MODES)
        cases += [Case(encoder, side, size, mode) for size in shown for mode in modes]
    return cases


def measure_case(case: Case, data: Path, runs: Path, device: torch.device, epochs: int) -> dict[str, Any]:
    """Train through the product's Trainer, then time the bare kernels of the same module."""
    precision, has_graphs = MODES[case.mode]
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    gc.collect()
    set_gpu_arithmetic(precision)
    overrides = [
        *("stage=pretrain", "dataset=npz", f"dataset.path={data}", f"encoder={case.encoder}", "logger=none"),
        *(f"stage.batch_size={case.batch_size}", f"stage.epochs={epochs}", "schedule.warmup_epochs=0"),
        "optimizer.lr=1e-6",  # so that no network collapses on these images
        *(f"trainer.accelerator={accelerator}", f"trainer.precision={precision}", f"trainer.cuda_graphs={has_graphs}"),
        *(f"paths.runs={runs}", "overwrite=true", "trainer.limit_steps=60"),
    ]
    cfg = validate_config(compose("config", overrides))
    source = build.build_source(cfg)
    reset_peak(device)
    with open_run(cfg, source.content_hash(), build.instantiate_node(cfg.init)) as run:
        setup = build_training_setup(run, source)
        module = build_module(run, setup.data)
        callbacks = (
            MetricsCsv(setup.metrics_csv, METRICS),
            CollapseGuard(**cfg.stage.collapse.to_dict(), width=module.encoder.width),
            Checkpoints(run.checkpoints, cfg.stage.checkpoint_every_s, numerics_environment(run)),
            ProgressLine(setup.data.batch_size),
        )
        setup.fit(module, callbacks, StageFrame(run), None)
        rates = [float(row["train/images_per_s"]) for row in read_rows(setup.metrics_csv)]
        peak = read_peak(device)
        images = setup.data.train.images[: case.batch_size]
        found = {"train": spread(rates[1:]), "peak_gib": peak, "first_epoch_s": len(setup.data.indices) / rates[0]}
        module.to(device)
        found["kernels"] = spread(measure_kernels(case, module, images.shape[1:3], device))
        found["augment"] = measure_augment(module.views, torch.from_numpy(images).to(device))
    found["share"] = found["train"]["median"] / found["kernels"]["median"]
    return found


def measure_kernels(case: Case, module: Any, size: Sequence[int], device: torch.device) -> list[float]:
    """Return images/s of forward pass, loss, backward pass and optimizer on random views."""
    precision, has_graphs = MODES[case.mode]
    encoder, head = module.encoder.train(), module.head.train()
    if has_graphs:
        encoder.forward = record_forward(encoder)
    optimizer = module.optimizer([*encoder.named_parameters(), *head.named_parameters(prefix="head")])
    views = torch.rand(2 * case.batch_size, 3, *size, device=device)
    half = precision == "bf16-mixed"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            loss = nt_xent(head(encoder(views)), module.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    steps = STEPS if size[0] <= LARGE else STEPS // 2
    times = [time_on_device(step, device, steps) for _ in range(REPEATS)]
    vars(encoder).pop("forward", None)
    return [case.batch_size / seconds for seconds in times]


def measure_augment(views: Callable[..., Tensor], images_BHWC: Tensor) -> dict[str, dict[str, float]]:
    """Return milliseconds of two views of the batch: on the device, and of the CPU until the work is started."""
    count, device = len(images_BHWC), images_BHWC.device
    keys = iter(range(10**6))

    def augment() -> None:
        views(images_BHWC, (0, 0, next(keys)), (0, count), count)

    gpu = [1000 * time_on_device(augment, device) for _ in range(REPEATS)]
    cpu = []
    for _ in range(REPEATS):
        wait(device)
        began = time.perf_counter()
        augment()
        cpu.append(1000 * (time.perf_counter() - began))
    return {"step_ms": spread(gpu), "cpu_ms": spread(cpu)}


def time_on_device(step: Callable[[], None], device: torch.device, steps: int = STEPS) -> float:
    """Return the seconds of one step, the mean over these steps after a warm-up, from CUDA events on a GPU."""
    for _ in range(WARM_UP):
        step()
    wait(device)
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - began) / steps
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(steps):
        step()
    end.record()
    wait(device)
    return start.elapsed_time(end) / 1000 / steps


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def read_peak(device: torch.device) -> float | None:
    """Return the peak of the allocated memory in GiB, the resident images included."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None


def measure_peers(data: Path, encoder: str, batch_size: int, steps: int, warm_up: int) -> dict[str, Any]:
    """Return the step rates of the alternatives, or why one could not run."""
    rates: dict[str, Any] = {}
    for name, script in {"thesis": "original.py", "lightly": "lightly_peer.py"}.items():
        command = [sys.executable, str(HERE / script), str(data), f"--encoder={encoder}", f"--workers={os.cpu_count()}"]
        command += [f"--batch-size={batch_size}", f"--steps={steps}", f"--warmup={warm_up}"]
        try:
            _, _, printed = time_process(command, data.parent)
            rates[name] = json.loads(printed.splitlines()[-1])["images_per_s"]
        except SystemExit as error:
            rates[name] = str(error).splitlines()[-1]
    return rates


def measure_start(data: Path, folder: Path, accelerator: str, repeats: int) -> dict[str, float]:
    """Return the seconds of a command of one step, whole."""
    seconds = []
    for number in range(repeats):
        command = [sys.executable, "-m", "simclr_med", "stage=pretrain", "dataset=npz", f"dataset.path={data}"]
        command += ["stage.epochs=1", "schedule.warmup_epochs=0", "trainer.limit_steps=1", "logger=none"]
        command += [f"trainer.accelerator={accelerator}", f"paths.runs={folder / f'start{number}'}"]
        seconds.append(time_process(command, folder, build_environment(folder))[0])
    return spread(seconds)


def read_driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def write_table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    machine, versions = report["machine"], report["versions"]
    lines = [
        f"{machine['gpu']} (driver and memory {report['driver']}), {machine['cores']} cores of {machine['cpu']}; torch "
        f"{versions['torch']}, CUDA {report['cuda']}, lightning {versions['lightning']}.",
        "",
        "| encoder | px | batch | mode | training step, images/s | kernels alone, images/s | share | augmentation, ms "
        "| of which CPU, ms | peak memory, GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["cases"]:
        start = f"| {row['encoder']} | {row['side']} | {row['batch_size']} | {row['mode']} |"
        if "error" in row:
            lines.append(f"{start} {row['error']} | | | | | |")
            continue
        peak = "" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
        lines.append(
            f"{start} {format_spread(row['train'], 0)} | {format_spread(row['kernels'], 0)} | {row['share']:.2f} | "
            f"{row['augment']['step_ms']['median']:.2f} | {row['augment']['cpu_ms']['median']:.2f} | {peak} |"
        )
    for name, rates in report["peers"].items():
        told = ", ".join(f"{k} {v:.0f} images/s" if isinstance(v, float) else f"{k}: {v}" for k, v in rates.items())
        lines += ["", f"Alternatives with {machine['cores']} workers, {name}: {told}"]
    return "\n".join([*lines, "", f"Start to the end of a run of one step: {format_spread(report['start'], 1)} s"])


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure pretraining on a GPU.")
    parser.add_argument("--quick", action="store_true", help="fewer settings, less than three minutes")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, help="file for all measurements, written after each of them")
    parser.add_argument("--encoders", nargs="+", default=["resnet18:28", "resnet50:224"], help="encoder:pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--images", type=int, nargs="+", default=[25600, 2048], help="training images of each encoder")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="start no other measurement after this")
    given = parser.parse_args(argv)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device=cuda: no GPU found.")
    return given


def main() -> None:
    given, began = parse_arguments(), time.monotonic()
    device = torch.device(given.device)
    pairs = [(name, int(side)) for name, side in (text.split(":") for text in given.encoders)]
    report: dict[str, Any] = {"machine": describe_machine(), "versions": list_versions(), "driver": read_driver()}
    report |= {"cuda": torch.version.cuda, "cases": [], "peers": {}, "start": {"min": 0.0, "median": 0.0, "max": 0.0}}
    register()
    with tempfile.TemporaryDirectory() as name, initialize_config_dir(str(HERE.parent / "conf"), version_base="1.3"):
        folder = Path(name)
        data = {}
        for (_, side), images in zip(pairs, given.images, strict=True):
            data[side] = folder / f"images{side}.npz"
            write_data(data[side], None, images, side, held_out=64)
        print(f"data written in {time.monotonic() - began:.1f} s", flush=True)

        def save() -> None:
            if given.json is not None:
                given.json.write_text(json.dumps(report, indent=1), encoding="utf-8")

        accelerator = "gpu" if device.type == "cuda" else "cpu"
        report["start"] = measure_start(data[pairs[0][1]], folder, accelerator, 1 if given.quick else REPEATS)
        encoder, side = pairs[0]
        steps, warm_up = (PEER_STEPS, PEER_WARM_UP) if device.type == "cuda" else (2, 1)
        report["peers"][f"{encoder}, {side} px, batch {given.batches[0]}"] = measure_peers(
            data[side], encoder, given.batches[0], steps, warm_up
        )
        save()
        for case in list_cases(given.quick, pairs, given.batches):
            if time.monotonic() - began > given.limit_s:
                report["cases"].append(asdict(case) | {"error": "not run: out of time"})
                continue
            started = time.monotonic()
            try:
                found = measure_case(case, data[case.side], folder / "runs", device, 3 if given.quick else 4)
            except Exception as error:  # out of memory, or a way that this machine lacks
                found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"}
            report["cases"].append(asdict(case) | found)
            print(f"{case}: {time.monotonic() - started:.1f} s", flush=True)
            save()
    GlobalHydra.instance().clear()
    print(write_table(report))
    print(f"\ndone in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
