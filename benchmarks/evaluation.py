"""Measure what follows pretraining: features, a probe curve, an epoch of finetuning, and the report over many runs.

As a script (OUT.json BEGAN ENCODER IMAGES ROUNDS), it measures the extraction of features in float32 and bfloat16.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images import draw_squares
from omegaconf import DictConfig, OmegaConf
from processes import build_environment, run_watched, time_process
from rich.table import Table
from spread import format_spread, spread

from simclr_med.atomic import write_json, write_text
from simclr_med.metrics_csv import read_rows
from simclr_med.runs.file_hashes import hash_files
from simclr_med.runs.finished_runs import load_config
from simclr_med.runs.identity import Init, compute_config_hash
from simclr_med.runs.names import run_folder
from simclr_med.safe_files import read_json

BUDGETS, SEEDS = ("50", "100", "250", "full"), (0, 1, 2, 3, 4)
CELLS = len(BUDGETS) * len(SEEDS)
EPOCHS = 4  # of finetuning; all but the first are timed
RATES = {"fp32": "features in float32, images/s", "bf16": "features in bfloat16, images/s"}
SECONDS = ("curve", "finetune", "report")


def measure(encoder: str, images: int, rounds: int, runs: int, folder: Path) -> dict[str, Any]:
    """Return images/s and seconds by the keys of `RATES` and `SECONDS`; each command is a new process.

    Args:
        encoder: an option of conf/encoder.
        images: of 28 px, whose features are extracted.
        rounds: number of measurements of each quantity.
        runs: number of runs of the report.
        folder: for images and runs.
    """
    report: dict[str, Any] = run_watched("evaluation.py", [encoder, str(images), str(rounds)], folder)
    report |= {"runs": runs, **{name: [] for name in SECONDS}}
    common = ["dataset=synthetic", f"encoder={encoder}", "init=random", "logger=none"]
    probe = ["stage=probe", *common, f"paths.runs={folder / 'runs'}"]
    curve = [*probe, f"stage.budgets=[{','.join(BUDGETS)}]", f"stage.seeds=[{','.join(map(str, SEEDS))}]"]
    _time_command([*probe, "seed=99"], folder)  # saves the features
    for _ in range(rounds):
        report["curve"].append(_time_command([*curve, "overwrite=true"], folder))
    tune = ["stage=finetune", *common, f"stage.epochs={EPOCHS}", "schedule.warmup_epochs=0"]
    _time_command([*tune, f"paths.runs={folder / 'finetune'}"], folder)
    (table,) = (folder / "finetune").glob("finetune/*/*/metrics.csv")
    report["finetune"] = np.diff([float(row["wall_s"]) for row in read_rows(table)]).tolist()
    copy_runs(folder / "runs", runs)
    for _ in range(rounds):
        report["report"].append(_time_command(["stage=report", f"paths.runs={folder / 'runs'}"], folder))
    return report


def copy_runs(runs: Path, count: int) -> None:
    """Copy the probes of a folder with further seeds until there are this many runs."""
    templates = sorted(path.parent for path in runs.glob("probe/*/*/result.json"))
    for number in range(count - len(templates)):
        template = templates[number % len(templates)]
        copy_run(template, runs, seed=100 + number // len(templates))


def copy_run(template: Path, runs: Path, seed: int) -> Path:
    """Copy a finished run as the run of another seed and return its folder."""
    cfg, result = load_config(template), read_json(template / "result.json")
    assert isinstance(cfg, DictConfig), f"{template}: no config"
    cfg.paths.runs, cfg.seed, cfg.data_fraction.seed = str(runs), cfg.seed * 1000 + seed, cfg.seed * 1000 + seed
    start = result["provenance"]["init"]
    digest = compute_config_hash(cfg, result["provenance"]["data_hash"], start["hash"])
    folder = run_folder(cfg, digest, Init(start["kind"], start["hash"]))
    shutil.copytree(template, folder)
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    same = {"config_hash": digest, "seed": cfg.seed, "config": OmegaConf.to_container(cfg, resolve=True)}
    copied = result | same | {"files": hash_files(folder)}
    write_json(folder / "result.json", copied)
    return folder


def build_table(report: dict[str, Any]) -> Table:
    """Return the rows of `RATES` and `SECONDS`: median (min-max)."""
    table = Table("evaluation", "median (min-max)", title=f"Evaluation, {report['encoder']}, 28 px")
    for name, text in RATES.items():
        table.add_row(text, format_spread(spread(report[name]), 0))
    for name, text in name_seconds(report["runs"]).items():
        table.add_row(text, format_spread(spread(report[name]), 1))
    return table


def name_seconds(runs: int) -> dict[str, str]:
    """Return the name of each quantity of `SECONDS`, as tables show it.

    Args:
        runs: of the report.
    """
    texts = (f"probe curve of {CELLS} runs on saved features", "epoch of finetuning with its validation")
    return dict(zip(SECONDS, (f"{text}, s" for text in (*texts, f"report over {runs:,} runs")), strict=True))


def _time_command(overrides: list[str], folder: Path) -> float:
    wall_s, _, _ = time_process([sys.executable, "-m", "simclr_med", *overrides], folder, build_environment(folder))
    return wall_s


def measure_extraction(encoder: str, count: int, rounds: int) -> dict[str, Any]:
    """Return the images/s of feature extraction from random images, by turns in float32 and under bfloat16 autocast."""
    from hydra import compose, initialize_config_dir

    from simclr_med.augment.sequence import to_float
    from simclr_med.config.folders import CONF
    from simclr_med.config.registry import register
    from simclr_med.evaluation.features import extract_features
    from simclr_med.stages.network import build_network

    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose("config", ["stage=pretrain", f"encoder={encoder}"]).encoder
    network, images = build_network(node, seed=0), draw_squares(count, 28, np.random.default_rng(0))
    device = torch.device("cpu")

    def rate(is_bf16: bool) -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            extract_features(network, images, to_float, device)
        return count / (time.perf_counter() - began)

    kinds: dict[str, Callable[[], float]] = {"fp32": lambda: rate(False), "bf16": lambda: rate(True)}
    for measured in kinds.values():
        measured()
    turns = [{name: measured() for name, measured in kinds.items()} for _ in range(rounds)]
    return {"encoder": encoder, "images": count, **{name: [turn[name] for turn in turns] for name in kinds}}


def main() -> None:
    out, _, encoder, images, rounds = sys.argv[1:]
    Path(out).write_text(json.dumps(measure_extraction(encoder, int(images), int(rounds))), encoding="utf-8")


if __name__ == "__main__":
    main()
