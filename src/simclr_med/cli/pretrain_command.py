"""The command that pretrains a missing encoder, for the message of a run that needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig

from simclr_med.cli.arguments import quote_for_shell, select_overrides
from simclr_med.config.folders import CONF, list_options
from simclr_med.errors import MissingEncoderError, RunError
from simclr_med.runs.finished_runs import load_config
from simclr_med.runs.identity import dataset_name


def with_command(error: MissingEncoderError, cfg: DictConfig, overrides: Sequence[str]) -> RunError:
    """Return the error with the command that pretrains the encoder.

    Args:
        error: names the wanted fields.
        cfg: of the run that needs the encoder.
        overrides: of that run.
    """
    first, *candidates = error.problems
    return RunError(f"{first} Make one: {pretrain_command(error, cfg, overrides)}", *candidates)


def pretrain_command(error: MissingEncoderError, cfg: DictConfig, overrides: Sequence[str]) -> str:
    """Return the command line that pretrains the missing encoder."""
    wanted = error.wanted
    data = _own_data(cfg, overrides) if wanted.dataset == cfg.dataset.name else _other_data(error)
    return " ".join(("simclr-med stage=pretrain", *data, *_recipe(error, overrides)))


def _own_data(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return the overrides that select this run's own data set."""
    option = select_overrides(overrides, "dataset")
    path = cfg.dataset.get("path")
    if not option and path is not None and dataset_name(path) == cfg.dataset.name:
        return _at(cfg.dataset)
    return [*(option or [f"dataset={cfg.dataset.name}"]), *select_overrides(overrides, "dataset.")]


def _other_data(error: MissingEncoderError) -> list[str]:
    """Return the overrides that select another data set: as an earlier run on it had them, else by its name."""
    wanted = error.wanted
    earlier = load_config(error.candidates[0]) if error.candidates else None
    data = [f"dataset={wanted.dataset}"]
    if earlier is not None and isinstance(earlier.dataset.get("path"), str):
        data = [*_at(earlier.dataset), f"dataset.name={wanted.dataset}"]
    has_size = earlier is None or earlier.dataset.get("size") is not None
    return [*data, f"dataset.size={wanted.size}"] if has_size and wanted.size is not None else data


def _at(dataset: DictConfig) -> list[str]:
    """Return the option and the path of a recorded data set; the option has the name of its class."""
    kind = str(dataset.get("_target_")).rpartition(".")[2].lower()
    option = kind if kind in list_options([CONF], "dataset") else "folder"
    return [f"dataset={option}", quote_for_shell("dataset.path", dataset.path)]


def _recipe(error: MissingEncoderError, overrides: Sequence[str]) -> Iterator[str]:
    wanted = error.wanted
    yield f"augmentation={wanted.augmentation}"
    yield f"encoder={wanted.encoder}"
    yield from select_overrides(overrides, "encoder.")
    if wanted.head_layers is not None:
        yield f"stage.head.layers={wanted.head_layers}"
    yield f"seed={wanted.seed}"
    if wanted.start in ("imagenet", "timm"):
        yield f"init={wanted.start}"
    elif wanted.start == "checkpoint":
        yield from ("init=checkpoint", _weights(error))
    elif wanted.start != "random":
        yield from ("init=pretrained", f"init.dataset={wanted.start}")
    yield from select_overrides(overrides, "paths.")
    yield from select_overrides(overrides, "allow_code")


def _weights(error: MissingEncoderError) -> str:
    """Return init.path of the first earlier run on the data set that started from a file."""
    recorded = [run.init for run in map(load_config, error.candidates) if run is not None]
    paths = [init.get("path") for init in recorded if init.name == "checkpoint"]
    return quote_for_shell("init.path", str(paths[0])) if paths else quote_for_shell("init.path", "<file>")
