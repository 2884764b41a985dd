"""The options of the group init: where an encoder's initial weights come from. These functions load no weights."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simclr_med.atomic import sha256
from simclr_med.errors import MissingEncoderError, RunError, WantedEncoder
from simclr_med.runs.fields import Fields
from simclr_med.runs.finished_runs import find_finished_runs, load_config
from simclr_med.runs.hub import find_weights
from simclr_med.runs.identity import Init
from simclr_med.safe_files import check_regular, read_json


def random(dataset: str | None, augmentation: str, seed: int) -> Init:
    """Random weights.

    Args:
        dataset, augmentation: ignored. A sweep over pretrained encoders sets them for its baselines as well, which are
            then one run.
        seed: of the weights.
    """
    del dataset, augmentation
    return Init(kind="random", hash=f"random:{seed}", seed=seed)


def checkpoint(path: str) -> Init:
    """Weights from a file in any format that `simclr_med.models.encoder_files` reads.

    Raises:
        RunError: the file is missing, unreadable, or a folder, pipe or device.
    """
    file = Path(os.path.expanduser(path))
    try:
        check_regular(file)
        digest = sha256(file)
    except FileNotFoundError as error:
        raise RunError(f"init.path={path}: there is no file {file.absolute()}. Check the path.") from error
    except OSError as error:
        problem = error.strerror or str(error)
        raise RunError(f"init.path={path}: cannot be read ({problem}). Check the path.") from error
    return Init(kind="checkpoint", hash=f"sha256:{digest}", path=file.absolute())


def pretrained(
    runs: str,
    dataset: str,
    augmentation: str,
    encoder: str,
    size: int | None,
    seed: int,
    start: str,
    exclude: str | None,
    run: str | None,
    model: str | None = None,
    head_layers: int | None = None,
) -> Init:
    """The encoder of the finished pretraining run that recorded these fields.

    Args:
        runs: folder of all runs.
        dataset, augmentation, encoder, seed: as the run recorded them.
        size: as well; None fits any size, and so does a run whose size is that of its data file.
        start: initial weights of that run: ``random``, ``imagenet``, ``timm``, ``checkpoint``, or the name of the
            data set that its encoder had been pretrained on before.
        exclude: dataset.exclude of that run; it decides if several runs have the other fields.
        run: folder of a run. When it is given, the other fields are ignored.
        model: of ``encoder=timm``, as the run recorded it; None for another encoder.
        head_layers: layers of that run's projection head; None fits any.

    Raises:
        MissingEncoderError: no run has these fields.
        RunError: several runs have them.
    """
    if run is not None:
        return saved_by(Path(os.path.expanduser(run)).absolute())
    wanted = WantedEncoder(dataset, augmentation, encoder, size, seed, start, model, head_layers)
    found = find_encoders(runs, wanted)
    if not found:
        top = Path(runs).absolute()
        raise MissingEncoderError(
            wanted, top, [folder for folder, _, _ in find_finished_runs(top, "pretrain", dataset)]
        )
    fitting = [folder for folder, recorded in found.items() if recorded == exclude] or list(found)
    if len(fitting) > 1:
        raise RunError(
            f"init=pretrained: {len(fitting)} finished pretraining runs have {wanted}. Choose one with init.run=:",
            *(f"  {folder}" for folder in fitting),
        )
    return saved_by(fitting[0])


def find_encoders(runs: str, wanted: WantedEncoder) -> dict[Path, str | None]:
    """Return the folder of each finished pretraining run that has the wanted fields, with its dataset.exclude.

    Args:
        runs: folder of all runs.
        wanted: the fields.
    """
    finished = find_finished_runs(Path(runs).absolute(), "pretrain", wanted.dataset)
    return {folder: cfg.dataset.get("exclude") for folder, cfg, _ in finished if _fits(cfg, wanted)}


def model(run: str | None) -> Init:
    """The classifier of a finished run, with its encoder.

    Raises:
        RunError: the folder holds no finished run with a classifier.
    """
    if run is None:
        raise RunError("init=model: no run given. Add stage.run=<folder> with stage=test, predict or analyse.")
    return classifier_of("stage.run", run)


def classifier_of(key: str, run: str) -> Init:
    """The classifier of a finished run, with its encoder.

    Args:
        key: that names the run, for the message.
        run: its folder.

    Raises:
        RunError: the folder holds no finished run with a classifier.
    """
    folder = Path(os.path.expanduser(run)).absolute()
    head = folder / "head.safetensors"
    kinds = "probe, finetune, baseline or distill run"
    try:
        digest = Fields.from_record(read_json(folder / "result.json")).text("config_hash")
    except (OSError, ValueError) as error:
        raise RunError(f"{key}={run}: not the folder of a finished run. Give that of a {kinds}.") from error
    if not head.is_file():
        raise RunError(f"{key}={run}: this run has no classifier (head.safetensors). Give a {kinds}.")
    own = folder / "encoder.safetensors"
    digests = [digest, sha256(head), *([sha256(own)] if own.is_file() else [])]
    return Init(kind="model", hash=":".join(digests), path=head, run=folder)


def saved(run: str) -> Init:
    """What a finished run saved: the classifier with its encoder, or the encoder of a pretraining run.

    Raises:
        RunError: the folder holds no finished run.
    """
    folder = Path(os.path.expanduser(run)).absolute()
    if not (folder / "result.json").is_file():
        raise RunError(f"stage.run={run}: not the folder of a finished run. Check the path, or finish the run.")
    return model(run) if (folder / "head.safetensors").is_file() else saved_by(folder, "stage.run")


def imagenet(encoder: str, folder: str, files: dict[str, str], url: str) -> Init:
    """torchvision's ImageNet weights, from torch's cache. The stage downloads them if they are missing.

    Args:
        encoder: name of the encoder's option.
        folder: torch.hub's cache.
        files: file of each encoder; its name ends with the first digits of its SHA-256.
        url: folder of the files on the server.

    Raises:
        RunError: there are no ImageNet weights of this encoder.
    """
    if encoder not in files:
        raise RunError(
            f"init=imagenet: encoder={encoder} has no ImageNet weights. Use encoder={', '.join(files)}, or init=random."
        )
    path = Path(os.path.expanduser(folder)) / files[encoder]
    return Init(kind="imagenet", hash=f"imagenet:{files[encoder]}", path=path, url=f"{url}/{files[encoder]}")


def timm(model: str | None) -> Init:
    """The pretrained weights of a timm model, from the cache of the Hugging Face hub or from its server.

    Args:
        model: of ``encoder=timm``, with the tag of the weights.

    Raises:
        RunError: the encoder is not of timm, the tag is missing, or the weights cannot be found.
    """
    if model is None:
        raise RunError("init=timm: the encoder is not of timm. Add encoder=timm encoder.model=<name>.<tag>.")
    if "." not in model:
        raise RunError(
            f"encoder.model={model}: init=timm needs the tag of the weights, as in resnet50.a1_in1k. Choose one of "
            f"timm.list_pretrained('{model}*')."
        )
    path = find_weights(model)
    return Init(kind="timm", hash=f"sha256:{sha256(path)}", path=path)


def _fits(cfg: Any, wanted: WantedEncoder) -> bool:
    """Whether a pretraining run's config has the wanted fields. A size that one side leaves open fits any."""
    recorded = {
        "dataset": cfg.dataset.name,
        "augmentation": cfg.augmentation.name,
        "encoder": cfg.encoder.name,
        "size": cfg.dataset.get("size"),
        "seed": cfg.seed,
        "start": _start(cfg.init),
        "model": cfg.encoder.get("model"),
        "head_layers": (cfg.stage.get("head") or {}).get("layers"),
    }
    fields = asdict(wanted)
    if wanted.head_layers is None:
        del fields["head_layers"], recorded["head_layers"]
    if None in (recorded["size"], fields["size"]):
        del recorded["size"]
    return all(fields[key] == value for key, value in recorded.items())


def _start(init: Any) -> Any:
    """Return the initial weights of a pretraining run as `init.start` names them, from the node init of its config."""
    if init.name != "pretrained":
        return init.name
    named = init.get("run")
    # A named run may be of another data set than init.dataset, which was then ignored.
    source = load_config(Path(os.path.expanduser(named)).absolute()) if isinstance(named, str) else None
    return init.get("dataset") if source is None else source.dataset.name


def saved_by(folder: Path, key: str = "init.run") -> Init:
    """The encoder of the finished pretraining run in a folder.

    Args:
        folder: of the run.
        key: that names the run, for the message.

    Raises:
        RunError: the folder holds none.
    """
    path = folder / "encoder.safetensors"
    try:
        result = Fields.from_record(read_json(folder / "result.json"))
        digest = result.fields("provenance").text("encoder_hash")
    except (OSError, ValueError) as error:
        raise RunError(
            f"{key}={folder}: not the folder of a finished pretraining run. Check the path, or finish the run."
        ) from error
    if not path.is_file():
        raise RunError(f"{key}={folder}: encoder.safetensors is missing. Repeat that run with overwrite=true.")
    return Init(kind="pretrained", hash=digest, path=path, run=folder)
