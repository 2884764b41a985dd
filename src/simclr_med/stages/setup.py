"""The parts of a training run, made from its config; every stage that trains puts them together."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from simclr_med import build
from simclr_med.atomic import write_text
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import ResNetEncoder
from simclr_med.models.imagenet import download_weights
from simclr_med.runs.identity import budget_name, method_name
from simclr_med.runs.provenance import git_commit, package_versions
from simclr_med.runs.run import Run
from simclr_med.training import devices

# Streams of the run's seed that weights are drawn from.
ENCODER, HEAD = 1, 2


def load_images(run: Run, source: Source) -> ImageDataModule:
    """The run's data, read and cut to its fraction; split.csv records which file of a folder went into which split."""
    cfg = run.cfg
    data = ImageDataModule(
        source,
        fraction_arguments(cfg),
        batch_size=cfg.stage.batch_size,
        seed=cfg.seed,
        accumulate=cfg.stage.get("accumulate", 1),
        processes=cfg.trainer.devices,
        bank=cfg.stage.knn.bank if "knn" in cfg.stage else 0,
        limit_steps=cfg.trainer.limit_steps,
    )
    data.setup()
    parts = {"train": data.train.names, "val": data.val.names}
    if all(names is not None for names in parts.values()):
        text = io.StringIO()
        rows = ((name, part) for part, names in parts.items() for name in names or ())
        csv.writer(text, lineterminator="\n").writerows([("file", "split"), *rows])
        write_text(run.folder / "split.csv", text.getvalue())
    return data


def fraction_arguments(cfg: DictConfig) -> dict[str, Any]:
    """The data fraction as keyword arguments of `subsets.choose`."""
    content: Any = OmegaConf.to_container(cfg.data_fraction, resolve=True)
    content.pop("name")
    return dict(content)


def collect_provenance(run: Run) -> dict[str, Any]:
    """What every result says of how it was made."""
    return {"git": git_commit(), "versions": package_versions(), "threads": torch.get_num_threads()}


def build_encoder(run: Run) -> tuple[ResNetEncoder, str]:
    """The encoder as the run's first step finds it, and where it comes from in words."""
    with seeded_init(run.cfg.seed, ENCODER):
        encoder = build.instantiate_node(run.cfg.encoder)
    if run.init.path is None:
        return encoder, "random weights"
    if run.init.url is not None:
        download_weights(run.init.url, run.init.path)
    return encoder, load_weights(encoder, load_encoder_state(run.init.path))


def build_loggers(run: Run) -> list[Any]:
    """The run's loggers, told its config and what it is made with; `learning.loggers.close` ends them."""
    cfg = run.cfg
    fraction = budget_name(cfg.data_fraction)
    made = [
        build.instantiate_node(
            node,
            folder=run.folder,
            name=f"{cfg.stage.name}-{cfg.dataset.name}-{run.config_hash[:10]}",
            group=f"{cfg.stage.name}-{cfg.dataset.name}",
            job_type=cfg.stage.name,
            tags=[cfg.dataset.name, cfg.augmentation.name, cfg.encoder.name, fraction, f"seed{cfg.seed}"],
        )
        for node in cfg.logger.loggers
    ]
    told: Any = OmegaConf.to_container(cfg, resolve=True)
    told |= {
        "method": method_name(cfg, run.init),
        "config_hash": run.config_hash,
        "data_hash": run.data_hash,
        "environment": numerics_environment(run) | collect_provenance(run),
    }
    for logger in made:
        logger.log_hyperparams(told)
    return made


def build_strategy(run: Run) -> Any:
    """Lightning's strategy: a flag as it is, or the object that the config names."""
    node = run.cfg.trainer.strategy
    return node if isinstance(node, str) else build.instantiate_node(node)


def numerics_environment(run: Run) -> dict[str, Any]:
    """What the bits of the run's weights depend on besides its config."""
    return devices.numerics_environment(devices.resolve_device(run.cfg.trainer.accelerator), run.cfg.trainer.devices)


def build_optimizer(node: Any, named_parameters: Any) -> torch.optim.Optimizer:
    """The optimizer of a config's node for these parameters (picklable with functools.partial)."""
    made: torch.optim.Optimizer = build.instantiate_node(node, named_parameters=named_parameters)
    return made


@contextmanager
def seeded_init(seed: int, stream: int) -> Iterator[None]:
    """Weights made inside are a function of (seed, stream); torch's global generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> 1))
        yield
