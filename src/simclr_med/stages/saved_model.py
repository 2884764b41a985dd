"""Load the classifier of a finished run from its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simclr_med import build
from simclr_med.config.schema import Config
from simclr_med.errors import CheckpointError, DataError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import Encoder
from simclr_med.models.head_files import LoadedHead, load_head
from simclr_med.runs.file_hashes import verify_files
from simclr_med.runs.run import Run, load_config
from simclr_med.stages.setup import build_network, load_initial_weights
from simclr_med.types import MULTI_LABEL, Task


@dataclass(frozen=True)
class SavedModel:
    """An encoder and its classifier, and the data set that they were trained on.

    Attributes:
        encoder, head: as they were scored.
        stage, dataset: of the run.
    """

    encoder: Encoder
    head: LoadedHead
    stage: str
    dataset: str


def load_model_of(run: Run[Config[Any]]) -> SavedModel:
    """Load the classifier that a run with init=model uses."""
    assert run.init.run is not None, "init=model always names a run"
    return load_saved_model(run.init.run)


def load_saved_model(folder: Path) -> SavedModel:
    """Load the classifier of a finished run of probe, finetune or baseline.

    A finetuned encoder is saved in the run's folder. A probe uses the encoder that it started from, which must not
    have changed.

    Raises:
        CheckpointError: a file is missing, damaged or changed.
    """
    cfg = load_config(folder)
    if cfg is None:
        raise CheckpointError(f"{folder / 'config.yaml'}: missing or unreadable. Repeat the run with overwrite=true.")
    own = folder / "encoder.safetensors"
    note = verify_files(folder, "config.yaml", "head.safetensors", *([own.name] if own.exists() else []))
    if note:
        print(note, flush=True)
    encoder = build_network(cfg.encoder, cfg.seed)
    if own.exists():
        load_weights(encoder, load_encoder_state(own))
    else:
        _start(folder, cfg, encoder)
    return SavedModel(encoder, load_head(folder / "head.safetensors"), cfg.stage.name, cfg.dataset.name)


def _start(folder: Path, cfg: Any, encoder: Encoder) -> None:
    """Load the frozen encoder of a probe from where its run found it."""
    recorded = json.loads((folder / "result.json").read_text(encoding="utf-8"))["provenance"]["init"]
    if recorded["run"] is not None:
        # Beside this run first: the whole folder of runs may have been moved.
        beside = sorted((folder.parents[2] / "pretrain").glob(f"*/{recorded['run']}"))
        cfg.init.run = str(beside[0]) if beside else cfg.init.run
    if recorded["kind"] == "checkpoint" and not Path(cfg.init.path).expanduser().is_file():
        # The path was relative to another working directory; older runs recorded nothing else.
        cfg.init.path = recorded.get("path") or cfg.init.path
    if cfg.init.name == "pretrained":
        for key in ("path", "own"):  # in configs of the first release; the search does not use them
            cfg.init.pop(key, None)
    init = build.instantiate_node(cfg.init)
    if init.hash != recorded["hash"]:
        raise CheckpointError(
            f"{folder}: the weights of init={cfg.init.name} have changed since this probe was fitted. Repeat the run "
            "with overwrite=true."
        )
    load_initial_weights(encoder, init)


def check_classes(model: SavedModel, classes: Sequence[str], task: Task, dataset: str) -> list[str]:
    """Compare a data set's classes with the model's, and return notes.

    Raises:
        DataError: they differ, or only one of the two is multi-label. Classes that are only numbered fit any of their
            count.
    """
    if (task == MULTI_LABEL) != (model.head.task == MULTI_LABEL):
        raise DataError(
            f"dataset={dataset}: its task is {task}, the model's is {model.head.task}. Choose another data set or "
            "model."
        )
    known = model.head.classes
    numbers = tuple(map(str, range(len(known))))
    if len(classes) == len(known) and (tuple(classes) == known or numbers in (tuple(classes), known)):
        if tuple(classes) != known:
            return [f"classes are matched by number: {', '.join(known)} and {', '.join(classes)}."]
        return []
    raise DataError(
        f"dataset={dataset}: expected the model's classes ({', '.join(known)}), found {', '.join(classes) or 'none'}. "
        "Choose another data set or model."
    )
