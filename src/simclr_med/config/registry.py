"""The types and resolvers that conf/ relies on, made known to Hydra."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from simclr_med.config import data_nodes, schema, select_nodes, stage_nodes, training_nodes
from simclr_med.config.folders import CONF, list_sequences
from simclr_med.config.medmnist_info import medmnist_info
from simclr_med.config.selection_keys import labels_hash, selected_by, selection_hash
from simclr_med.runs.identity import dataset_name, epoch_of_validation, validation_of_budget

# A YAML binds itself to a type by "- /schema/<group>/<name>@_here_".
NODES: dict[str, dict[str, type]] = {
    "dataset": {
        "medmnist": data_nodes.MedMNIST,
        "npz": data_nodes.Npz,
        "folder": data_nodes.Folder,
        "parquet": data_nodes.Parquet,
        "synthetic": data_nodes.Synthetic,
    },
    "encoder": {
        "resnet": schema.ResNet,
        "densenet": schema.DenseNet,
        "convnext": schema.ConvNeXt,
        "tiny": schema.TinyEncoder,
        "tiny_resnet": schema.TinyResNet,
        "timm": schema.Timm,
    },
    "optimizer": {"adamw": schema.AdamW, "adam": schema.Adam, "sgd": schema.SGD, "lars": schema.LARS},
    "schedule": {"warmup_cosine": schema.WarmupCosine, "multistep": schema.Multistep, "constant": schema.Constant},
    "init": {
        "random": schema.InitRandom,
        "pretrained": schema.InitPretrained,
        "checkpoint": schema.InitCheckpoint,
        "imagenet": schema.InitImageNet,
        "timm": schema.InitTimm,
        "model": schema.InitModel,
        "saved": schema.InitSaved,
    },
    "stage": {
        "pretrain": training_nodes.Pretrain,
        "probe": stage_nodes.Probe,
        "supervised": training_nodes.Supervised,
        "distill": training_nodes.Distill,
        "test": stage_nodes.Test,
        "predict": stage_nodes.Predict,
        "export": stage_nodes.Export,
        "study": stage_nodes.Study,
        "preview": stage_nodes.Preview,
        "audit": stage_nodes.Audit,
        "analyse": stage_nodes.Analyse,
        "report": stage_nodes.Report,
        "select": select_nodes.Select,
    },
}


def register(folders: Sequence[Path] = (CONF,)) -> None:
    """Make the types and the resolvers known to Hydra, before a config is composed.

    Args:
        folders: of the configuration, ours and the user's.
    """
    _register_fixed()
    # Every sequence is an option of the preview, so that a new YAML needs no second edit.
    sequences = [{f"/augmentation@stage.options.{name}": name} for name in list_sequences(folders)]
    ConfigStore.instance().store(
        group="schema/preview", name="sequences", package="_global_", node={"defaults": sequences}
    )


@cache  # what no folder changes; it takes 0.07 s
def _register_fixed() -> None:
    store = ConfigStore.instance()
    store.store(name="config_schema", node=schema.Schema)
    for group, nodes in NODES.items():
        for name, node in nodes.items():
            store.store(group=f"schema/{group}", name=name, node=node)
    OmegaConf.register_new_resolver("medmnist", medmnist_info, replace=True)
    OmegaConf.register_new_resolver("home", lambda name: str(Path.home() / name), replace=True)
    OmegaConf.register_new_resolver("joined", lambda names: "+".join(sorted(map(str, names))) or "all", replace=True)
    OmegaConf.register_new_resolver("stem", dataset_name, replace=True)
    OmegaConf.register_new_resolver("last_part", _last_part, replace=True)
    OmegaConf.register_new_resolver("validation_of_budget", validation_of_budget, replace=True)
    OmegaConf.register_new_resolver("selected_by", selected_by, replace=True)
    OmegaConf.register_new_resolver("selection_hash", selection_hash, replace=True)
    OmegaConf.register_new_resolver("labels_hash", labels_hash, replace=True)
    OmegaConf.register_new_resolver("epoch_of_validation", epoch_of_validation, replace=True)


def _last_part(path: object) -> str:
    """Return the name of the folder at a path, also where the path ends with dots or leads through a link."""
    return os.path.basename(os.path.realpath(os.path.expanduser(str(path))))
