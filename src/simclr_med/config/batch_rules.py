"""The rules of a training batch: its micro-batches and processes, and the patients of its images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simclr_med.config.bounds import LARGEST_INTEGER
from simclr_med.config.data_nodes import Dataset
from simclr_med.config.schema import Config, Trainer
from simclr_med.config.training_nodes import Pretrain


def cuda_graphs(cfg: Config[Any]) -> Iterator[str]:
    """Yield a sentence if CUDA graphs cannot record the step of this config."""
    if not cfg.trainer.cuda_graphs:
        return
    if cfg.trainer.processes > 1:
        several = " ".join(f"{key}={value}" for key, value in _process_keys(cfg.trainer).items())
        yield f"trainer.cuda_graphs=true: not available with {several}. Set trainer.cuda_graphs=false."
    elif isinstance(cfg.stage, Pretrain) and cfg.stage.accumulate > 1:
        # A graph returns every gradient in the same memory, so that it cannot be summed.
        yield (
            f"trainer.cuda_graphs=true: not available with stage.accumulate={cfg.stage.accumulate}. Set "
            "trainer.cuda_graphs=false."
        )


def micro_batches(stage: Pretrain, trainer: Trainer) -> Iterator[str]:
    """Yield a sentence for each reason why the batch cannot be cut into micro-batches."""
    if stage.exact_accumulate and stage.accumulate == 1:
        yield "stage.exact_accumulate=true: needs micro-batches. Set stage.accumulate to 2 or more, or remove it."
    counts = (stage.accumulate, trainer.nodes, trainer.devices)
    if min(stage.batch_size - 1, *counts) < 1 or max(counts) > LARGEST_INTEGER:
        return  # reported as out of bounds
    parts = stage.accumulate * trainer.processes
    factors = {"stage.accumulate": stage.accumulate, **_process_keys(trainer)}
    shares = f"{' x '.join(factors)} = {' x '.join(map(str, factors.values()))}"
    if stage.batch_size % parts:
        yield f"stage.batch_size={stage.batch_size}: expected a multiple of {shares}. Choose another batch size."
    elif stage.batch_size // parts < 2:
        yield (
            f"stage.batch_size={stage.batch_size}: less than two images for each micro-batch of each process "
            f"({shares}). Raise it."
        )


def same_patient(stage: Pretrain, dataset: Dataset) -> Iterator[str]:
    """Yield a sentence for each key that needs the patients, if the data set cannot name them."""
    if dataset.may_name_patients:
        return
    wanted = {
        "stage.positives=patient": stage.pairs_patients,
        "stage.mask_same_patient=true": stage.masks_patients,
    }
    for override, is_wanted in wanted.items():
        if is_wanted:
            yield (
                f"{override}: dataset={dataset.name} does not name the patient of each image. Set dataset.groups_csv "
                "(npz, folder), dataset.csv.patient (folder) or dataset.patient (parquet), or remove "
                f"{override.partition('=')[0]}."
            )


def _process_keys(trainer: Trainer) -> dict[str, int]:
    """Return the keys whose product is the number of processes; trainer.nodes only if there are several."""
    nodes = {} if trainer.nodes == 1 else {"trainer.nodes": trainer.nodes}
    return {**nodes, "trainer.devices": trainer.devices}
