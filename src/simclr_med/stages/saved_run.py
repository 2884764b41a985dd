"""What a finished run recorded, as plain checked values, and the initial weights that it names.

The folder may be somebody else's. A target in its config.yaml that is not of this package is refused, and none is ever
called.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simclr_med.config.options import load_option
from simclr_med.config.targets import find_targets, is_listed
from simclr_med.errors import CheckpointError
from simclr_med.runs import init
from simclr_med.runs.config_files import read_config
from simclr_med.runs.fields import LONGEST_TEXT, MAX_INTEGER, Fields, describe_error, describe_value
from simclr_med.runs.identity import Init, slug
from simclr_med.safe_files import read_json

REPEAT = "Use another run, or repeat this one with overwrite=true."


@dataclass(frozen=True)
class SavedRun:
    """The fields of a run's config.yaml that its model is loaded by.

    Attributes:
        folder: of the run.
        encoder, init: these groups as recorded; both have a name. Every other value of them is unchecked.
        seed: of the run.
        stage, dataset: names, reduced to letters, digits, underscores, dots and dashes.
    """

    folder: Path
    encoder: Mapping[str, Any]
    init: Mapping[str, Any]
    seed: int
    stage: str
    dataset: str

    @property
    def config(self) -> Path:
        """The file that the fields come from."""
        return self.folder / "config.yaml"


@dataclass(frozen=True)
class RecordedInit:
    """What a run's result.json says of its initial weights.

    Attributes:
        kind, hash: as in `simclr_med.runs.identity.Init`.
        run: name of the folder of the run that saved them, or None.
        path: the file with the weights, or None.
    """

    kind: str
    hash: str
    run: str | None
    path: Path | None


def read_saved_run(folder: Path, allow_code: bool = False) -> SavedRun:
    """Read a run's config.yaml.

    Args:
        folder: of the run.
        allow_code: whether the run may name targets of other packages, which are not called either.

    Raises:
        CheckpointError: the file is missing or damaged, or names the target of another package.
    """
    path = folder / "config.yaml"
    try:
        content = read_config(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: missing or unreadable ({describe_error(error)}). {REPEAT}") from error
    refuse_foreign_targets(path, content, allow_code)
    encoder, start, stage, dataset = (content[group] for group in ("encoder", "init", "stage", "dataset"))
    if encoder["name"] != slug(encoder["name"]):
        name = describe_value(encoder["name"])
        raise CheckpointError(f"{path}: encoder.name={name}: not a name of an option. {REPEAT}")
    return SavedRun(folder, encoder, start, content["seed"], slug(stage["name"]), slug(dataset["name"]))


def check_targets(folder: Path, allow_code: bool) -> None:
    """`refuse_foreign_targets` for a folder of which only the weights are used. Its config.yaml may be missing."""
    path = folder / "config.yaml"
    try:
        content = read_config(path)
    except (OSError, ValueError):
        return
    refuse_foreign_targets(path, content, allow_code)


def refuse_foreign_targets(path: Path, content: Mapping[str, Any], allow_code: bool = False) -> None:
    """Raise CheckpointError if a run's config names a target that is not of this package.

    Args:
        path: of the config.
        content: of the config.
        allow_code: whether such targets are accepted. They are not called either.
    """
    for key, target in find_targets(content):
        is_known = str(target).startswith("simclr_med.") or is_listed(key.partition(".")[0], target)
        if not allow_code and not is_known:
            raise CheckpointError(
                f"{path}: {describe_value(key)}={describe_value(target)}: not a target of simclr-med. Use another run, "
                "or add allow_code=true if this run used code of your own."
            )


def find_init(saved: SavedRun) -> Init:
    """Find the frozen encoder of a probe where its run found it, or beside the run if all runs were moved.

    Raises:
        CheckpointError: the record is damaged, or the weights have changed.
        RunError: the weights are missing.
    """
    recorded = _read_init(saved.folder)
    if recorded.kind not in _FINDERS:
        raise CheckpointError(f"{saved.folder / 'result.json'}: init: unknown kind of initial weights. {REPEAT}")
    found = _FINDERS[recorded.kind](saved, recorded)
    if found.hash != recorded.hash:
        raise CheckpointError(
            f"{saved.folder}: the weights of init={recorded.kind} have changed since this probe was fitted. Repeat the "
            "run with overwrite=true."
        )
    return found


def _read_init(folder: Path) -> RecordedInit:
    path = folder / "result.json"
    try:
        start = Fields.from_record(read_json(path)).fields("provenance").fields("init")
        run, file = (start.text_or_none(key, LONGEST_TEXT) for key in ("run", "path"))
        return RecordedInit(start.text("kind"), start.text("hash"), run, None if file is None else Path(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its initial weights are unreadable ({describe_error(error)}). {REPEAT}"
        ) from error


def _random(saved: SavedRun, recorded: RecordedInit) -> Init:
    """The weights of the recorded seed; protocol version 1 always took the run's seed."""
    if recorded.hash == "random":
        return Init(kind="random", hash="random", seed=saved.seed)
    digits = recorded.hash.removeprefix("random:")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19 or int(digits) > MAX_INTEGER:
        raise CheckpointError(f"{saved.folder / 'result.json'}: init: the seed is damaged. {REPEAT}")
    return init.random(None, "", int(digits))


def _checkpoint(saved: SavedRun, recorded: RecordedInit) -> Init:
    """The recorded file; older runs recorded only what was typed, relative to their working directory."""
    typed = saved.init.get("path")
    if recorded.path is None or (not recorded.path.is_file() and isinstance(typed, str)):
        return init.checkpoint(str(typed))
    return init.checkpoint(str(recorded.path))


def _pretrained(saved: SavedRun, recorded: RecordedInit) -> Init:
    """The pretraining run of the recorded name: beside this run first, since the folder of all runs may have moved."""
    tops = [saved.folder.parent.parent.parent, *_texts(saved.init.get("runs"))]
    name = glob.escape(recorded.run or "")
    is_name = recorded.run is not None and Path(recorded.run).name == recorded.run
    named = [folder for top in tops if is_name for folder in sorted((top / "pretrain").glob(f"*/{name}"))]
    places = [*named, *_texts(saved.init.get("run")), *([] if recorded.path is None else [recorded.path.parent])]
    finished = (folder for folder in places if (folder / "result.json").is_file())
    return init.saved_by(next(finished, places[0] if places else tops[0] / "pretrain" / str(recorded.run)))


def _imagenet(saved: SavedRun, recorded: RecordedInit) -> Init:
    """torchvision's file: the recorded one if it is there, else that of conf/init/imagenet.yaml, from its server."""
    node, path = load_option((), "init", "imagenet"), recorded.path
    if path is not None and path.is_file():
        # Its name ends with the first digits of its SHA-256, which `download_weights` compares.
        return Init(kind="imagenet", hash=f"imagenet:{path.name}", path=path, url=f"{node.url}/{path.name}")
    return init.imagenet(saved.encoder["name"], node.folder, dict(node.files), node.url)


def _timm(saved: SavedRun, recorded: RecordedInit) -> Init:
    """The recorded file if it is there, else that of the encoder's model in the cache of the hub."""
    if recorded.path is not None and recorded.path.is_file():
        return replace(init.checkpoint(str(recorded.path)), kind="timm")
    model = saved.encoder.get("model")
    return init.timm(model if isinstance(model, str) else None)


_FINDERS: Mapping[str, Callable[[SavedRun, RecordedInit], Init]] = {
    "random": _random,
    "checkpoint": _checkpoint,
    "pretrained": _pretrained,
    "imagenet": _imagenet,
    "timm": _timm,
}


def _texts(*values: Any) -> list[Path]:
    """The values that are texts, as paths."""
    return [Path(os.path.expanduser(value)) for value in values if isinstance(value, str) and "\0" not in value]
