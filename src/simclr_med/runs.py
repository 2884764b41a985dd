"""A run is its config: its identity, its folder, its lock, and what it leaves when it ends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from simclr_med.errors import RunError
from simclr_med.files import write_json, write_text

SCHEMA_VERSION = 1
# Raised when a change of the code changes the results of an unchanged config.
PROTOCOL_VERSION = 1

# What a config says about where and how a run is done, not about what it computes.
OPERATIONAL = {
    "": ("paths", "logger", "init", "overwrite", "dry_run", "keep", "experiment", "grid"),
    "dataset": ("root", "path", "groups_csv", "verify", "info"),
    "stage": ("checkpoint_every_s", "collapse"),
    "trainer": ("accelerator", "devices", "strategy", "threads"),
}

# Groups whose option's name is recorded and looked up, and so part of the run; of the others the values alone count.
NAMED = ("dataset", "stage", "augmentation", "encoder")

State = Literal["new", "unfinished", "finished"]


@dataclass(frozen=True)
class Origin:
    """Where a run's encoder starts from.

    Attributes:
        kind: random, pretrained, checkpoint or imagenet.
        hash: of the weights' content; of the kind alone when there is no file.
        path: the weights, or None.
        run: the folder of the run that made them, or None.
    """

    kind: str
    hash: str
    path: Path | None = None
    run: Path | None = None


@dataclass(frozen=True)
class Run:
    """One open run: nobody else works in its folder while it is open."""

    folder: Path
    config_hash: str
    state: State
    cfg: DictConfig
    data_hash: str
    origin: Origin

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def result(self) -> dict[str, Any]:
        """What a finished run recorded."""
        return dict(json.loads((self.folder / "result.json").read_text(encoding="utf-8")))

    def finish(self, metrics: Mapping[str, float], timing: Mapping[str, float], provenance: Mapping[str, Any]) -> None:
        """Record the result, which is what makes the run a finished one, then drop what only a resume needs."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "protocol_version": PROTOCOL_VERSION,
            "stage": self.cfg.stage.name,
            "dataset": self.cfg.dataset.name,
            "config_hash": self.config_hash,
            "seed": self.cfg.seed,
            "metrics": dict(metrics),
            "intervals": {},
            "timing": dict(timing),
            "provenance": {
                **provenance,
                "data_hash": self.data_hash,
                "init": {
                    "kind": self.origin.kind,
                    "run": self.origin.run and self.origin.run.name,
                    "hash": self.origin.hash,
                },
            },
        }
        write_json(self.folder / "result.json", content)
        (self.folder / "failure.json").unlink(missing_ok=True)
        if self.cfg.keep == "least":
            for name in ("last.ckpt", "previous.ckpt"):
                (self.checkpoints / name).unlink(missing_ok=True)

    def fail(self, error: BaseException) -> None:
        """Record why the run ended early; what it had saved stays and is gone on with by the same command."""
        content = {
            "message": str(error) or type(error).__name__,
            "traceback": "".join(traceback.format_exception(error)),
            "config": OmegaConf.to_container(self.cfg, resolve=True),
        }
        try:
            write_json(self.folder / "failure.json", content)
        except OSError as full:  # the disk that made the run fail may take no report of it either
            print(f"{self.folder / 'failure.json'}: could not be written ({full.strerror}).", file=sys.stderr)


def identity(cfg: DictConfig, data_hash: str, origin_hash: str) -> str:
    """The hash (40 hex digits of SHA-256) of all that decides a run's result.

    Args:
        cfg: resolved config.
        data_hash: content hash of the data.
        origin_hash: content hash of the weights that the encoder starts from.
    """
    content: Any = OmegaConf.to_container(cfg, resolve=True)
    for group, keys in OPERATIONAL.items():
        node = content.get(group) if group else content
        for key in keys:
            node.pop(key, None)
    for group, node in content.items():
        if isinstance(node, dict) and group not in NAMED:
            node.pop("name", None)
    content |= {"data_hash": data_hash, "origin_hash": origin_hash, "protocol_version": PROTOCOL_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def budget(fraction: DictConfig) -> str:
    """The label budget in a word, whichever way it was typed: full, n100, pct1 or per_class10."""
    for prefix, value in (("n", fraction.samples), ("pct", fraction.percent), ("per_class", fraction.per_class)):
        if value is not None:
            return f"{prefix}{value:g}"
    return "full"


def folder_of(cfg: DictConfig, config_hash: str) -> Path:
    """``<runs>/<stage>/<dataset>/<readable>-<hash>``."""
    readable = "-".join(
        (cfg.augmentation.name, cfg.encoder.name, budget(cfg.data_fraction), cfg.init.name, f"seed{cfg.seed}")
    )
    return Path(cfg.paths.runs).absolute() / cfg.stage.name / cfg.dataset.name / f"{readable}-{config_hash[:10]}"


def state_of(folder: Path, config_hash: str) -> State:
    """How far the run in that folder has come. A result.json that cannot be read counts as unfinished."""
    try:
        recorded = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return "unfinished" if folder.is_dir() else "new"
    except (OSError, ValueError):
        return "unfinished"
    return "finished" if recorded.get("config_hash") == config_hash else "unfinished"


@contextmanager
def opened(cfg: DictConfig, data_hash: str, origin: Origin) -> Iterator[Run]:
    """The run of this config, made or found, and locked until the block ends.

    Raises:
        RunError: the runs folder cannot be written.
    """
    config_hash = identity(cfg, data_hash, origin.hash)
    folder = folder_of(cfg, config_hash)
    # A finished run needs no lock: its files do not change any more.
    if state_of(folder, config_hash) == "finished" and not cfg.overwrite:
        yield Run(folder, config_hash, "finished", cfg, data_hash, origin)
        return
    with _locked(Path(cfg.paths.runs).absolute() / ".locks" / f"{config_hash}.lock", folder):
        state = state_of(folder, config_hash)
        try:
            if cfg.overwrite and state != "new":
                shutil.rmtree(folder)
                state = "new"
            if state != "finished":
                folder.mkdir(parents=True, exist_ok=True)
                write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        except OSError as error:
            raise _unwritable(cfg.paths.runs, error) from error
        yield Run(folder, config_hash, state, cfg, data_hash, origin)


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    """Hold the lock at path (the system's own, gone with its process); wait, and say so, while another holds it."""
    owner = path.with_suffix(".owner")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            print(f"Waiting for {who}, which is doing this run: {folder}", flush=True)
            lock.acquire()
    except OSError as error:
        raise _unwritable(str(path.parent.parent), error) from error
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _unwritable(runs: str, error: OSError) -> RunError:
    return RunError(f"paths.runs={runs}: must be a folder that can be written ({error.strerror}). Choose another one.")


def finished_runs(runs: Path, stage: str, dataset: str) -> Iterator[tuple[Path, DictConfig, dict[str, Any]]]:
    """(folder, config, result) of every finished run of a stage on a data set, in the order of their names."""
    for path in sorted((runs / stage / dataset).glob("*/result.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            cfg = OmegaConf.load(path.parent / "config.yaml")
        except (OSError, ValueError):
            continue
        if isinstance(cfg, DictConfig):
            yield path.parent, cfg, result
