"""The command that pretrains a missing encoder, for the message of a run that needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig

from simclr_med.cli.arguments import quote_for_shell, select_overrides
from simclr_med.errors import MissingEncoderError, RunError, WantedEncoder
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
    return " ".join(("simclr-med stage=pretrain", *data, *_recipe(wanted, overrides)))


def _own_data(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return the overrides that select this run's own data set."""
    option = select_overrides(overrides, "dataset")
    path = cfg.dataset.get("path")
    if not option and path is not None and dataset_name(path) == cfg.dataset.name:
        return _at(path)
    return [*(option or [f"dataset={cfg.dataset.name}"]), *select_overrides(overrides, "dataset.")]


def _other_data(error: MissingEncoderError) -> list[str]:
    """Return the overrides that select another data set: as an earlier run on it had them, else by its name."""
    wanted = error.wanted
    earlier = load_config(error.candidates[0]) if error.candidates else None
    path = earlier.dataset.get("path") if earlier is not None else None
    data = (
        [f"dataset={wanted.dataset}"] if not isinstance(path, str) else [*_at(path), f"dataset.name={wanted.dataset}"]
    )
    has_size = earlier is None or earlier.dataset.get("size") is not None
    return [*data, f"dataset.size={wanted.size}"] if has_size and wanted.size is not None else data


def _at(path: str) -> list[str]:
    return [f"dataset={'npz' if path.endswith('.npz') else 'folder'}", quote_for_shell("dataset.path", path)]


def _recipe(wanted: WantedEncoder, overrides: Sequence[str]) -> Iterator[str]:
    yield f"augmentation={wanted.augmentation}"
    yield f"encoder={wanted.encoder}"
    yield from select_overrides(overrides, "encoder.")
    if wanted.head_layers is not None:
        yield f"stage.head.layers={wanted.head_layers}"
    yield f"seed={wanted.seed}"
    if wanted.start in ("imagenet", "timm"):
        yield f"init={wanted.start}"
    elif wanted.start != "random":
        yield from ("init=pretrained", f"init.dataset={wanted.start}")
    yield from select_overrides(overrides, "paths.")
    yield from select_overrides(overrides, "allow_code")
