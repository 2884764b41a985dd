"""Load the classifier of a finished run from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from simclr_med.config.options import load_option, recorded_values
from simclr_med.config.schema import Config
from simclr_med.config.targets import is_listed
from simclr_med.errors import CheckpointError, ConfigError, DataError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import Encoder
from simclr_med.models.head_files import LoadedHead, load_head
from simclr_med.runs.file_hashes import verify_files
from simclr_med.runs.run import Run
from simclr_med.stages.network import build_network, load_initial_weights
from simclr_med.stages.saved_run import REPEAT, SavedRun, find_init, read_saved_run
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
    return load_saved_model(run.init.run, [Path(folder) for folder in run.cfg.paths.own], run.cfg.allow_code)


def load_saved_model(folder: Path, own_options: Sequence[Path] = (), allow_code: bool = False) -> SavedModel:
    """Load the classifier of a finished run of probe, finetune or baseline.

    A finetuned encoder is saved in the run's folder. A probe uses the encoder that it started from, which must not
    have changed. The folder may be somebody else's: nothing in it chooses what is called.

    Args:
        folder: of the run.
        own_options: folders of the user's own options, beside conf/.
        allow_code: whether the target of an option of the user's own may be called.

    Raises:
        CheckpointError: a file is missing, damaged or changed.
        ConfigError: the option of the encoder is unknown, or needs ``allow_code``.
    """
    saved = read_saved_run(folder, allow_code)
    encoder = _load_encoder(saved, own_options, allow_code, "head.safetensors")
    return SavedModel(encoder, load_head(folder / "head.safetensors"), saved.stage, saved.dataset)


def load_saved_encoder(folder: Path) -> Encoder:
    """Load the encoder of a finished run: its own, or the one that a probe used.

    Raises:
        CheckpointError, ConfigError: as `load_saved_model`.
    """
    return _load_encoder(read_saved_run(folder), (), False)


def _load_encoder(saved: SavedRun, own_options: Sequence[Path], allow_code: bool, *files: str) -> Encoder:
    """Build the network of a saved run and load its weights; verify the config, the weights and these files."""
    folder, own = saved.folder, saved.folder / "encoder.safetensors"
    note = verify_files(folder, "config.yaml", *files, *([own.name] if own.exists() else []))
    if note:
        print(note, flush=True)
    if own.exists():
        encoder = _build_encoder(saved, saved.seed, own_options, allow_code)
        load_weights(encoder, load_encoder_state(own))
        return encoder
    init = find_init(saved)
    encoder = _build_encoder(saved, saved.seed if init.seed is None else init.seed, own_options, allow_code)
    load_initial_weights(encoder, init)
    return encoder


def _build_encoder(saved: SavedRun, seed: int, own_options: Sequence[Path], allow_code: bool) -> Encoder:
    """Build the network of a saved run: the option of its name, with the numbers and texts that the run recorded.

    Args:
        saved: the run.
        seed: of random weights.
        own_options, allow_code: as in `load_saved_model`.
    """
    option: Any = OmegaConf.to_container(load_option(tuple(own_options), "encoder", saved.encoder["name"]))
    target = option.get("_target_")
    if not allow_code and not is_listed("encoder", target):
        raise ConfigError(
            f"encoder={saved.encoder['name']}: its _target_={target} is not a target of this group. Add "
            "allow_code=true to run code of your own."
        )
    try:
        return build_network(option, seed, recorded_values(option, saved.encoder))
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(f"{saved.config}: encoder: {reason}. {REPEAT}") from error


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
