"""Load the classifier of a finished run from its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
    """Load the classifier of a finished run of probe, finetune, baseline or distill.

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
    build = partial(_build_encoder, own_options=own_options, allow_code=allow_code)
    saved, encoder = _load_encoder(folder, allow_code, build, "head.safetensors")
    return SavedModel(encoder, load_head(folder / "head.safetensors"), saved.stage, saved.dataset)


def load_saved_encoder(folder: Path) -> Encoder:
    """Load the encoder of a finished run: its own, or the one that a probe used.

    Raises:
        CheckpointError, ConfigError: as `load_saved_model`.
    """
    return _load_encoder(folder, False, partial(_build_encoder, own_options=(), allow_code=False))[1]


def load_plain_encoder(
    folder: Path, own_options: Sequence[Path] = (), allow_code: bool = False
) -> tuple[SavedRun, Encoder]:
    """Load the encoder of a finished run, of pretraining too, without the speed-ups: torch.export cannot read these.

    The arguments and errors are those of `load_saved_model`.
    """
    build = partial(_build_encoder, own_options=own_options, allow_code=allow_code, speedups=False)
    return _load_encoder(folder, allow_code, build)


def _load_encoder(
    folder: Path, allow_code: bool, build: Callable[[SavedRun, int], Encoder], *files: str
) -> tuple[SavedRun, Encoder]:
    """Read a run and build its encoder.

    Args:
        folder: of the run.
        allow_code: as in `load_saved_model`.
        build: makes the network of a run from a seed.
        files: of the run that the caller reads too; their hashes are compared with the recorded ones.
    """
    saved = read_saved_run(folder, allow_code)
    own = folder / "encoder.safetensors"
    note = verify_files(folder, "config.yaml", *files, *([own.name] if own.exists() else []))
    if note:
        print(note, flush=True)
    if own.exists():
        encoder = build(saved, saved.seed)
        load_weights(encoder, load_encoder_state(own))
    else:
        init = find_init(saved)
        encoder = build(saved, saved.seed if init.seed is None else init.seed)
        load_initial_weights(encoder, init)
    return saved, encoder


def _build_encoder(
    saved: SavedRun, seed: int, own_options: Sequence[Path], allow_code: bool, speedups: bool = True
) -> Encoder:
    """Build the network of a saved run: the option of its name, with the numbers and texts that the run recorded.

    Args:
        saved: the run.
        seed: of random weights.
        own_options, allow_code: as in `load_saved_model`.
        speedups: as in `build_network`.
    """
    option: Any = OmegaConf.to_container(load_option(tuple(own_options), "encoder", saved.encoder["name"]))
    target = option.get("_target_")
    if not allow_code and not is_listed("encoder", target):
        raise ConfigError(
            f"encoder={saved.encoder['name']}: its _target_={target} is not a target of this group. Add "
            "allow_code=true to run code of your own."
        )
    try:
        return build_network(option, seed, recorded_values(option, saved.encoder), speedups)
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
