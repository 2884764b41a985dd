"""Writes folders of runs as the stages leave them: real configs, and scores of random probabilities."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from simclr_med.config.budgets import parse_budget
from simclr_med.config.registry import register
from simclr_med.metrics import classification, intervals
from simclr_med.runs.file_hashes import hash_files
from simclr_med.runs.identity import epoch_of_validation, validation_of_budget
from simclr_med.types import Task

CONF = Path(__file__).parents[1] / "conf"
_NEEDS = {stage: ["stage.run=runs/probe/cells/a"] for stage in ("test", "predict")}


@lru_cache
def config(stage: str) -> dict[str, Any]:
    """Return the resolved config of a stage."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        content: Any = OmegaConf.to_container(
            compose("config", [f"stage={stage}", "encoder=tiny", *_NEEDS.get(stage, [])]), resolve=True
        )
    return dict(content)


def drawn(
    quality: float, seed: int, images: int = 120, classes: int = 3, labels_seed: int = 0, salt: int = 7
) -> tuple[Any, Any]:
    """Return labels [N, 1] of one test split, and probabilities that improve with quality."""
    labels = np.random.default_rng(labels_seed).integers(0, classes, (images, 1))
    logits = np.random.default_rng([seed, salt]).normal(size=(images, classes))
    logits[np.arange(images), labels[:, 0]] += quality
    odds = np.exp(logits)
    return labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def draw_salt(*arguments: Any) -> int:
    """Return a number for what a test asked for, so that other values of ``conf/`` do not change what is drawn."""
    return int(hashlib.sha256(json.dumps(arguments).encode()).hexdigest()[:10], 16)


def list_changes(before: dict[str, Any], after: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (key, new value) of each value that differs."""
    for key, value in after.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            yield from list_changes(before[key], value, f"{path}{key}.")
        elif key not in before or before[key] != value:
            yield f"{path}{key}", value


def write(
    runs: Path,
    stage: str,
    dataset: str = "cells",
    budget: str = "n50",
    seed: int = 0,
    quality: float = 1.0,
    init: dict[str, Any] | None = None,
    augmentation: str | None = None,
    state: str = "finished",
    change: Callable[[dict[str, Any]], None] | None = None,
    protocol_version: int = 1,
    made_by: Path | None = None,
    predictions: tuple[Any, Any] | None = None,
    classes: tuple[str, ...] = ("red", "green", "blue"),
) -> Path:
    """Write the folder of one run and return it.

    Args:
        init: node of the config; None for random weights.
        change: function that changes the config in place.
        made_by: folder of the pretraining run that the run starts from.
        predictions: labels and probabilities; None for `drawn` ones of this quality.
    """
    content = copy.deepcopy(config(stage))
    content["dataset"] |= {"name": dataset}
    amounts = {key: value for key, value in (parse_budget(budget) or {}).items() if key != "name"}
    content["data_fraction"] |= {**amounts, "name": budget, "seed": seed, "validation": validation_of_budget(**amounts)}
    if "select_by" in content["stage"]:
        content["stage"]["select_by"] = epoch_of_validation(content["data_fraction"]["validation"])
    content["seed"] = seed
    if init is not None:
        content["init"] = init
    elif made_by is None:
        content["init"] = {"name": "random"}
    if augmentation is not None:
        content["augmentation"] = {"name": augmentation, "ops": [augmentation]}
    before = copy.deepcopy(content)
    if change is not None:
        change(content)
    dataset_node = {key: value for key, value in content["dataset"].items() if key != "metadata_csv"}  # not hashed
    digest = hashlib.sha256(json.dumps(content | {"dataset": dataset_node}).encode()).hexdigest()[:10]
    folder = runs / stage / dataset / f"{content['augmentation']['name']}-tiny-{budget}-seed{seed}-{digest}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    if state == "failed":
        (folder / "failure.json").write_text(json.dumps({"message": "Out of memory."}), encoding="utf-8")
    if state != "finished":
        return folder
    recorded: dict[str, Any] = {"train/images": int(budget[1:]) if budget[1:].isdigit() else 1000}
    tables: dict[str, Any] = {}
    bounds: dict[str, list[float]] = {}
    if stage == "pretrain":
        recorded |= {"train/loss": 3.0 + seed, "val/knn_accuracy": 0.5, "val/knn_accuracy_before": 0.3}
        (folder / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n0,1,4.0,\n1,2,3.0,3.5\n2,3,2.9", "utf-8")
    else:
        salt = draw_salt(stage, dataset, budget, init, augmentation, list(list_changes(before, content)))
        labels, probabilities = predictions or drawn(quality, seed, classes=len(classes), salt=salt)
        task: Task = "multi-label, binary-class" if labels.shape[1] > 1 else "multi-class"
        task = "binary-class" if len(classes) == 2 else task
        recorded |= {
            f"test/{name}": value for name, value in classification.compute_scores(task, labels, probabilities).items()
        }
        found = intervals.compute_test_intervals(task, labels, probabilities, resamples=40, seed=0)
        bounds = {f"test/{name}": list(interval) for name, interval in found.items()}
        bins = classification.reliability_bins(task, labels, probabilities)
        tables = {
            "classes": list(classes),
            "confusion_matrix": classification.confusion_matrix(task, labels, probabilities),
            "reliability": {k: [None if x != x else x for x in column] for k, column in bins.items()},
        }
        np.savez(folder / "predictions.npz", labels=labels, probabilities=probabilities, classes=np.array(classes))
    result = {
        "schema_version": 1,
        "protocol_version": protocol_version,
        "stage": stage,
        "dataset": dataset,
        "config_hash": digest,
        "seed": seed,
        "metrics": recorded,
        "intervals": bounds,
        "timing": {"wall_s": 36.0} | ({"images_per_s": 100.0} if stage != "probe" else {}),
        "provenance": {
            "data_hash": "sha256:abcdef",
            "init": {"kind": "x", "hash": "x:0", "run": made_by and made_by.name},
        },
        "tables": tables,
        "files": hash_files(folder),
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def pretrained(dataset: str = "cells", augmentation: str = "novel", **more: Any) -> dict[str, Any]:
    """Return the init node of a run that starts from a pretrained encoder."""
    node = {"name": "pretrained", "dataset": dataset, "augmentation": augmentation, "seed": 0, "start": "random"}
    return node | {"run": None} | more


def forget_hashes(folder: Path) -> None:
    """Remove the hashes of a run's files from its record, as runs of the first release have none."""
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    del content["files"]
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
