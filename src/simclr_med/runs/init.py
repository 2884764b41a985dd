"""Where an encoder starts from: each function is one option of the group init. None of them reads weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simclr_med.atomic import sha256
from simclr_med.cli.arguments import job_overrides, quote_for_shell
from simclr_med.errors import MissingEncoderError, RunError
from simclr_med.runs.identity import Init, dataset_name
from simclr_med.runs.run import find_finished_runs


def random(dataset: str | None, augmentation: str, seed: int) -> Init:
    """Weights drawn from the run's seed.

    Args:
        dataset, augmentation, seed: of no use here. A sweep over pretrained encoders sets them for its baselines too,
            which are then one and the same run.
    """
    del dataset, augmentation, seed
    return Init(kind="random", hash="random")


def checkpoint(path: str) -> Init:
    """Weights of a file, whatever its kind.

    Raises:
        RunError: there is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise RunError(f"init.path={path}: must be a file with weights. There is none at {file.absolute()}.")
    return Init(kind="checkpoint", hash=f"sha256:{sha256(file)}", path=file.absolute())


def pretrained(
    runs: str,
    dataset: str,
    augmentation: str,
    encoder: str,
    size: int | None,
    seed: int,
    start: str,
    run: str | None,
    path: str | None,
    own: str | None = None,
) -> Init:
    """The encoder of the one finished pretraining run that recorded these fields.

    Args:
        runs: folder of all runs.
        dataset, augmentation, encoder, seed: what the run recorded.
        size: as well; None, or a run whose size is that of its file, fits any.
        start: where that run itself started: ``random``, ``imagenet``, or the data set of its own encoder.
        run: folder of a run, which decides alone when it is given.
        path: of this run's own data, and
        own: the name of it, for the command that would make a run.

    Raises:
        MissingEncoderError: no run fits; lists the candidates and the command that would make one.
        RunError: several do.
    """
    if run is not None:
        return _of(Path(run).expanduser().absolute())
    wanted = {"augmentation": augmentation, "encoder": encoder, "size": size, "seed": seed, "start": start}
    found = list(find_finished_runs(Path(runs).absolute(), "pretrain", dataset))
    fitting = [folder for folder, cfg, _ in found if _fits(cfg, wanted)]
    if len(fitting) == 1:
        return _of(fitting[0])
    told = " ".join(f"{key}={value}" for key, value in {"dataset": dataset, **wanted}.items() if value is not None)
    if fitting:
        listed = [f"  {folder}" for folder in fitting]
        raise RunError(f"init=pretrained: must fit one run; {len(fitting)} fit {told}. Name one by init.run=:", *listed)
    made = [cfg for _, cfg, _ in found]
    data = _own_data(dataset, path) if own in (None, dataset) else _other_data(dataset, size, made)
    make = " ".join(("simclr-med stage=pretrain", *data, *_recipe(augmentation, encoder, seed, start)))
    candidates = [f"  {folder}" for folder, _, _ in found]
    raise MissingEncoderError(
        f"init=pretrained: must find a finished run under {Path(runs).absolute()}; none fits {told}. Make one: {make}",
        *([f"Finished pretraining runs on {dataset}:", *candidates] if candidates else []),
    )


def _fits(cfg: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a pretraining run's config is of the wanted fields; a size that nobody states is no difference."""
    has = {
        "augmentation": cfg.augmentation.name,
        "encoder": cfg.encoder.name,
        "size": cfg.dataset.get("size"),
        "seed": cfg.seed,
        "start": cfg.init.dataset if cfg.init.name == "pretrained" else cfg.init.name,
    }
    return all(has[key] == wanted[key] or (key == "size" and None in (has[key], wanted[key])) for key in wanted)


def _own_data(dataset: str, path: str | None) -> list[str]:
    """The words for this run's own data set: those that were typed."""
    if path is not None and dataset_name(path) == dataset and not job_overrides("dataset"):
        return _at(path)
    return [*(job_overrides("dataset") or [f"dataset={dataset}"]), *job_overrides("dataset.")]


def _other_data(dataset: str, size: int | None, made: list[Any]) -> list[str]:
    """The words for another data set: of a file or folder as an earlier run on it had them, else by its name."""
    path = made[0].dataset.get("path") if made else None
    words = [f"dataset={dataset}"] if path is None else [*_at(path), f"dataset.name={dataset}"]
    sized = not made or made[0].dataset.get("size") is not None
    return [*words, f"dataset.size={size}"] if sized and size is not None else words


def _at(path: str) -> list[str]:
    return [f"dataset={'npz' if path.endswith('.npz') else 'folder'}", quote_for_shell("dataset.path", path)]


def _recipe(augmentation: str, encoder: str, seed: int, start: str) -> Iterator[str]:
    yield from (f"augmentation={augmentation}", f"encoder={encoder}", *job_overrides("encoder."), f"seed={seed}")
    if start != "random":
        yield from ("init=imagenet",) if start == "imagenet" else ("init=pretrained", f"init.dataset={start}")
    yield from job_overrides("paths.")


def _of(folder: Path) -> Init:
    path = folder / "encoder.safetensors"
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        digest = result["provenance"]["encoder_hash"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"init.run={folder}: must be the folder of a finished pretraining run. Finish it.") from error
    if not path.is_file():
        raise RunError(f"init.run={folder}: must hold encoder.safetensors. Make the run again with overwrite=true.")
    return Init(kind="pretrained", hash=digest, path=path, run=folder)


def model(run: str | None) -> Init:
    """A finished run's classifier with its encoder.

    Raises:
        RunError: no finished run with a classifier lies there.
    """
    if run is None:
        raise RunError("init=model: must be used with stage=test, predict or analyse, and stage.run=<folder of a run>.")
    folder = Path(run).expanduser().absolute()
    head = folder / "head.safetensors"
    try:
        digest = json.loads((folder / "result.json").read_text(encoding="utf-8"))["config_hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"stage.run={run}: must be the folder of a finished probe, finetune or baseline run.") from error
    if not head.is_file():
        raise RunError(f"stage.run={run}: must be a probe, finetune or baseline run; it has no head.safetensors.")
    return Init(kind="model", hash=f"{digest}:{sha256(head)}", path=head, run=folder)


def imagenet(encoder: str, folder: str, files: dict[str, str], url: str) -> Init:
    """torchvision's ImageNet weights: from torch's own cache, or downloaded into it by the stage.

    Args:
        encoder: name of the encoder's option.
        folder: torch.hub's cache.
        files: name of the weights of each encoder that has some; it ends with the beginning of the file's SHA-256.
        url: where the files are.

    Raises:
        RunError: there are no such weights of this encoder.
    """
    if encoder not in files:
        raise RunError(
            f"init=imagenet: must be used with an encoder that has ImageNet weights ({', '.join(files)}); encoder="
            f"{encoder} has none. Choose one of them, or init=random."
        )
    path = Path(folder).expanduser() / files[encoder]
    return Init(kind="imagenet", hash=f"imagenet:{files[encoder]}", path=path, url=f"{url}/{files[encoder]}")
