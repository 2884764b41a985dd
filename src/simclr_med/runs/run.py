"""A run is its config: its identity, its folder, its lock, and what it leaves when it ends."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeGuard, TypeVar

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from simclr_med.atomic import remove_temporary_files, write_json, write_text
from simclr_med.errors import RunError, UserError
from simclr_med.runs.encoder_cache import EncoderCache
from simclr_med.runs.identity import NAMED, Init, compute_config_hash, run_folder
from simclr_med.runs.identity import PROTOCOL_VERSION as PROTOCOL_VERSION
from simclr_med.runs.lock import hold_lock
from simclr_med.runs.signals import terminate_on_signal

SCHEMA_VERSION = 1

# What a disk says when it takes no more: full, over quota, read-only.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

State = Literal["new", "unfinished", "finished", "failed"]


class RepeatableStage(Protocol):
    """What a run needs to know of its stage."""

    @property
    def is_repeated(self) -> bool: ...


class ResolvedConfig(Protocol):
    """What a run needs of its config, whose type is that of `simclr_med.config.schema.Config`."""

    @property
    def plain(self) -> DictConfig:
        """All keys and values, read-only."""

    @property
    def stage(self) -> RepeatableStage: ...


C_co = TypeVar("C_co", bound=ResolvedConfig, covariant=True)
C = TypeVar("C", bound=ResolvedConfig)


@dataclass(frozen=True)
class Run(Generic[C_co]):
    """One open run: nobody else works in its folder while it is open.

    Attributes:
        cfg: typed and frozen.
        encoders: of the process, for the runs that share one.
    """

    folder: Path
    config_hash: str
    state: State
    cfg: C_co
    data_hash: str
    origin: Init
    encoders: EncoderCache = field(default_factory=EncoderCache)

    @property
    def plain(self) -> DictConfig:
        """The config as a read-only mapping."""
        return self.cfg.plain

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def result(self) -> dict[str, Any]:
        """What a finished run recorded."""
        return dict(json.loads((self.folder / "result.json").read_text(encoding="utf-8")))

    def finish(
        self,
        metrics: Mapping[str, float],
        timing: Mapping[str, float],
        provenance: Mapping[str, Any],
        intervals: Mapping[str, tuple[float, float]] | None = None,
        tables: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the result, which is what makes the run a finished one, then drop what only a resume needs.

        Args:
            metrics: by ``split/metric``.
            timing: seconds, and images a second.
            provenance: what the result was made with.
            intervals: (low, high) of some metrics, 95 %.
            tables: what is no single number: a confusion matrix, notes.
        """
        content = {
            "schema_version": SCHEMA_VERSION,
            "protocol_version": PROTOCOL_VERSION,
            "stage": self.plain.stage.name,
            "dataset": self.plain.dataset.name,
            "config_hash": self.config_hash,
            "seed": self.plain.seed,
            "metrics": dict(metrics),
            "intervals": {name: list(interval) for name, interval in (intervals or {}).items()},
            "timing": dict(timing),
            "provenance": {
                **provenance,
                "data_hash": self.data_hash,
                "init": {
                    "kind": self.origin.kind,
                    "run": self.origin.run and self.origin.run.name,
                    "hash": self.origin.hash,
                    "path": self.origin.path and str(self.origin.path),
                },
            },
        }
        if tables:
            content["tables"] = dict(tables)
        (self.folder / "failure.json").unlink(missing_ok=True)
        write_json(self.folder / "result.json", content)
        if self.plain.keep == "least":
            for name in ("last.ckpt", "previous.ckpt"):
                (self.checkpoints / name).unlink(missing_ok=True)

    def fail(self, error: BaseException) -> None:
        """Record why the run ended early; what it had saved stays and is gone on with by the same command.

        Raises:
            RunError: in place of an error of the disk, which can take no traceback either; of one that came after the
                result, which stands; and of one of another training process, which hides what happened.
        """
        if not self.folder.is_dir():
            gone = "must stay while its run goes on; it was removed"
            raise RunError(f"{self.folder}: {gone}. The same command starts it again.") from error
        if run_state(self.folder, self.config_hash) == "finished":
            raise RunError(f"{self.folder}: is finished, but what came after failed ({error}).") from error
        content = {
            "message": str(error) or type(error).__name__,
            "traceback": "".join(traceback.format_exception(error)),
            "config": OmegaConf.to_container(self.plain, resolve=True),
        }
        try:
            write_json(self.folder / "failure.json", content)
        except OSError as refused:  # the disk that made the run fail may take no report of it either
            if not isinstance(error, (UserError, OSError)):
                print(f"{refused.filename}: could not be written ({refused.strerror}).", file=sys.stderr)
        if isinstance(error, OSError) and error.errno in REFUSALS:
            raise RunError(
                f"{error.filename or self.folder}: could not be written ({error.strerror}). What was saved before "
                "stays; mend that and give the same command again."
            ) from error
        if "Traceback (most recent call last)" in str(error):
            kind, _, told = str(error).strip().splitlines()[-1].partition(": ")
            ours = kind.startswith("simclr_med.errors.")
            raise RunError(told if ours else f"{kind}: {told} (traceback in {self.folder / 'failure.json'})") from error


def run_state(folder: Path, config_hash: str) -> State:
    """How far the run in that folder has come. A result.json that cannot be read counts as unfinished."""
    if not folder.is_dir():
        return "new"
    recorded = _recorded(folder)
    if recorded is not None and recorded.get("config_hash") == config_hash:
        return "finished"
    return "failed" if (folder / "failure.json").exists() else "unfinished"


def _recorded(folder: Path) -> dict[str, Any] | None:
    """A run's result.json; None when there is none, or none that can be read."""
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def open_run(
    cfg: C, data_hash: str, origin: Init, wait: bool = True, encoders: EncoderCache | None = None
) -> Iterator[Run[C]]:
    """The run of this config, made or found, and locked until the block ends.

    Args:
        cfg: as `simclr_med.config.validate.validate_config` returns it.
        data_hash: content hash of the data.
        origin: of the encoder.
        wait: for another process that does this run; false: raise.
        encoders: of this process; None makes an empty cache.

    Raises:
        BusyError: another process does it, and nobody is to wait.
        RunError: the runs folder cannot be written.
    """
    plain, encoders = cfg.plain, encoders or EncoderCache()
    config_hash = compute_config_hash(plain, data_hash, origin.hash)
    folder = run_folder(plain, config_hash, origin)
    again = plain.overwrite or cfg.stage.is_repeated
    # A finished run needs no lock: its files do not change any more.
    if run_state(folder, config_hash) == "finished" and not again:
        yield Run(folder, config_hash, "finished", cfg, data_hash, origin, encoders)
        return
    with ExitStack() as held:
        held.enter_context(terminate_on_signal())
        try:
            held.enter_context(
                hold_lock(Path(plain.paths.runs).absolute() / ".locks" / f"{config_hash}.lock", folder, wait)
            )
            state = run_state(folder, config_hash)
            if again and state != "new":
                # First: of a removal that is cut short no finished run must remain.
                (folder / "result.json").unlink(missing_ok=True)
                shutil.rmtree(folder)
                state = "new"
            if state != "finished":
                if (folder / "result.json").exists():
                    print(f"{folder / 'result.json'}: cannot be read, so this run is done again.", flush=True)
                folder.mkdir(parents=True, exist_ok=True)
                remove_temporary_files(folder)
                (folder / "failure.json").unlink(missing_ok=True)
                write_text(folder / "config.yaml", OmegaConf.to_yaml(plain, resolve=True))
        except OSError as error:
            raise _unwritable(plain.paths.runs, error) from error
        yield Run(folder, config_hash, state, cfg, data_hash, origin, encoders)


def _unwritable(runs: str, error: OSError) -> RunError:
    return RunError(f"paths.runs={runs}: must be a folder that can be written ({error.strerror}). Choose another one.")


def find_finished_runs(runs: Path, stage: str, dataset: str) -> Iterator[tuple[Path, DictConfig, dict[str, Any]]]:
    """(folder, config, result) of every finished run of a stage on a data set, in the order of their names."""
    for path in sorted((runs / stage / dataset).glob("*/result.json")):
        result, cfg = _recorded(path.parent), load_config(path.parent)
        if result is None or cfg is None:
            print(f"{path.parent}: its result.json or config.yaml cannot be read; passed over.", file=sys.stderr)
            continue
        yield path.parent, cfg, result


def load_config(folder: Path) -> DictConfig | None:
    """A run's config.yaml; None when there is none, or none that tells which run it is of."""
    try:
        cfg = OmegaConf.load(folder / "config.yaml")
    except (OSError, ValueError, YAMLError):
        return None
    return cfg if _has_named(cfg) else None


def _has_named(cfg: Any) -> TypeGuard[DictConfig]:
    """Whether a config.yaml was read far enough to tell which run it is of."""
    wanted = ("seed", "init.name", *(f"{group}.name" for group in NAMED))
    return isinstance(cfg, DictConfig) and all(OmegaConf.select(cfg, key) is not None for key in wanted)
