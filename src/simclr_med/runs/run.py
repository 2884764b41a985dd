"""One run: its state, its folder and lock while it is open, and the files that it writes when it ends."""

from __future__ import annotations

import errno
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from simclr_med.atomic import remove_temporary_files, write_json, write_text
from simclr_med.errors import BusyError, RunError, UserError, write_advice
from simclr_med.runs.config_files import read_config
from simclr_med.runs.fields import Fields, describe_error, make_printable
from simclr_med.runs.file_hashes import hash_files
from simclr_med.runs.identity import PROTOCOL_VERSION as PROTOCOL_VERSION
from simclr_med.runs.identity import Init, compute_config_hash
from simclr_med.runs.job_cache import JobCache
from simclr_med.runs.leftovers import RESUMABLE, find_leftovers, remove_leftovers
from simclr_med.runs.lock import HeldLock, hold_lock
from simclr_med.runs.names import run_folder
from simclr_med.runs.processes import FirstProcess
from simclr_med.runs.signals import StopSignal, terminate_on_signal
from simclr_med.safe_files import read_json

SCHEMA_VERSION = 1

State = Literal["pending", "unfinished", "finished", "failed"]


class RepeatableStage(Protocol):
    """What a run needs to know of its stage."""

    @property
    def is_repeated(self) -> bool: ...


class ResolvedConfig(Protocol):
    """What a run needs of its config, whose type is `simclr_med.config.schema.Config`."""

    @property
    def plain(self) -> DictConfig:
        """All keys and values, read-only."""

    @property
    def stage(self) -> RepeatableStage: ...

    @property
    def changes(self) -> Mapping[str, Any]:
        """The values that differ from the defaults, for the name of the folder (`simclr_med.runs.names.SHOWN`)."""


C_co = TypeVar("C_co", bound=ResolvedConfig, covariant=True)
C = TypeVar("C", bound=ResolvedConfig)


@dataclass(frozen=True)
class Run(Generic[C_co]):
    """An open run. No other process works in its folder while it is open.

    Attributes:
        folder: of the run.
        config_hash: its identity.
        state: when it was opened; "pending" for a run that starts now.
        cfg: resolved config, typed and frozen.
        data_hash: content hash of the data.
        init: initial weights of the encoder.
        cache: what the runs of the job share.
        stop_signal: the signal that asked the run to stop, if any.
        lock: of the folder; None for a finished run, in which nothing is written.
        processes: hands trainings to the other processes of the command; None if this process was started alone.
        remarks: sentences about how the files of the data set are read, for the record.
    """

    folder: Path
    config_hash: str
    state: State
    cfg: C_co
    data_hash: str
    init: Init
    cache: JobCache = field(default_factory=JobCache)
    stop_signal: StopSignal = field(default_factory=StopSignal)
    lock: HeldLock | None = None
    processes: FirstProcess | None = None
    remarks: Sequence[str] = ()

    @property
    def plain(self) -> DictConfig:
        """The config as a read-only mapping."""
        return self.cfg.plain

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def check_lock(self) -> None:
        """Raise RunError if another process may work in the folder, because the lock file was removed."""
        if self.lock is not None:
            self.lock.check()

    def result(self) -> dict[str, Any]:
        """Return the content of result.json."""
        return dict(read_json(self.folder / "result.json"))

    def finish(
        self,
        metrics: Mapping[str, float],
        timing: Mapping[str, float],
        provenance: Mapping[str, Any],
        intervals: Mapping[str, tuple[float, float]] | None = None,
        tables: Mapping[str, Any] | None = None,
    ) -> None:
        """Write result.json (this marks the run as finished), then delete the checkpoints that only a resume needs.

        Args:
            metrics: by ``split/metric``.
            timing: seconds, and images per second.
            provenance: versions, commit, threads.
            intervals: 95 % confidence interval (low, high) of some metrics.
            tables: results that are no single number, for example a confusion matrix.

        Raises:
            RunError: the lock was lost; nothing is written.
        """
        self.check_lock()
        content = {
            "schema_version": SCHEMA_VERSION,
            "protocol_version": PROTOCOL_VERSION,
            "stage": self.plain.stage.name,
            "dataset": self.plain.dataset.name,
            "config_hash": self.config_hash,
            "seed": self.plain.seed,
            "config": OmegaConf.to_container(self.plain, resolve=True),
            "metrics": dict(metrics),
            "intervals": {name: list(interval) for name, interval in (intervals or {}).items()},
            "timing": dict(timing),
            "provenance": {
                **provenance,
                "data_hash": self.data_hash,
                **({"data_remarks": list(self.remarks)} if self.remarks else {}),
                "init": _record_init(self.init),
            },
        }
        if self.init.teacher is not None:
            content["provenance"]["teacher"] = _record_init(self.init.teacher)
        if tables:
            content["tables"] = dict(tables)
        content["files"] = hash_files(self.folder)
        (self.folder / "failure.json").unlink(missing_ok=True)
        write_json(self.folder / "result.json", content)
        if self.plain.keep == "least":
            for name in RESUMABLE:
                (self.checkpoints / name).unlink(missing_ok=True)

    def fail(self, error: BaseException) -> None:
        """Write failure.json. Checkpoints stay, and the repeated command resumes from them.

        Raises:
            RunError: replaces an error that needs other words: the folder was removed, the lock was lost, the run had
                already finished, a file could not be written, or the error comes from another training process as a
                traceback in text.
        """
        if not self.folder.is_dir():
            raise RunError(
                f"{self.folder}: the folder was removed during the run. Repeat the command to run it again."
            ) from error
        self.check_lock()  # the folder may be another process's now
        if run_state(self.folder, self.config_hash) == "finished":
            raise RunError(f"{self.folder}: the run is finished, but a later step failed ({error}).") from error
        content = {
            "message": str(error) or type(error).__name__,
            "traceback": "".join(traceback.format_exception(error)),
            "config": OmegaConf.to_container(self.plain, resolve=True),
        }
        try:
            write_json(self.folder / "failure.json", content)
        except OSError as disk_error:  # often the disk itself made the run fail, and the user knows already
            if not isinstance(error, (UserError, OSError)):
                print(f"{disk_error.filename}: could not be written ({disk_error.strerror}).", file=sys.stderr)
        if isinstance(error, OSError) and _is_write_error(error, self.folder):
            raise RunError(
                f"{error.filename or self.folder}: could not be written ({error.strerror}). Earlier "
                f"checkpoints are kept. {write_advice(error)}, then repeat the command to resume."
            ) from error
        if "Traceback (most recent call last)" in str(error):
            kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
            if not kind.startswith("simclr_med.errors."):
                message = f"{kind}: {message} (traceback in {self.folder / 'failure.json'})"
            raise RunError(message) from error


def _record_init(init: Init) -> dict[str, Any]:
    """Return what result.json says of weights that a run uses."""
    return {
        "kind": init.kind,
        "run": init.run and init.run.name,
        "hash": init.hash,
        "path": init.path and str(init.path),
    }


def _is_write_error(error: OSError, folder: Path) -> bool:
    """Return whether an error is about writing into a run's folder; a failed write may name no file."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return is_full or (isinstance(error.filename, str) and folder in Path(error.filename).absolute().parents)


def run_state(folder: Path, config_hash: str) -> State:
    """Return the state of the run in a folder. An unreadable result.json counts as unfinished."""
    if not folder.is_dir():
        return "pending"
    recorded = _read_result(folder)
    if recorded is not None and recorded.get("config_hash") == config_hash:
        return "finished"
    return "failed" if (folder / "failure.json").exists() else "unfinished"


def _read_result(folder: Path) -> dict[str, Any] | None:
    """Return the content of result.json, or None if it is missing or unreadable."""
    try:
        content = read_json(folder / "result.json")
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def open_run(
    cfg: C,
    data_hash: str,
    init: Init,
    wait: bool = True,
    cache: JobCache | None = None,
    processes: FirstProcess | None = None,
) -> Iterator[Run[C]]:
    """Open the run of this config: create or find its folder, and hold its lock until the block ends.

    Args:
        cfg: as `simclr_med.config.validate.validate_config` returns it.
        data_hash: content hash of the data.
        init: initial weights of the encoder.
        wait: for another process that is running this; False raises BusyError.
        cache: what the runs of the job share; None creates an empty cache.
        processes: of the command, as in `Run`.

    Raises:
        BusyError: another process is running this and wait is False.
        RunError: the runs folder cannot be written.
    """
    plain, cache = cfg.plain, cache or JobCache()
    config_hash = compute_config_hash(plain, data_hash, init.identity)
    folder = run_folder(plain, config_hash, init, cfg.changes)
    repeats = plain.overwrite or cfg.stage.is_repeated
    # A finished run needs no lock, because its files do not change any more.
    lock = Path(plain.paths.runs).absolute() / ".locks" / f"{config_hash}.lock"
    if run_state(folder, config_hash) == "finished" and not repeats:
        if find_leftovers(folder, plain.keep):
            # Not while another process works there, and not in a folder that this process cannot write.
            with suppress(BusyError, OSError), hold_lock(lock, folder, wait=False):
                if run_state(folder, config_hash) == "finished":
                    remove_leftovers(folder, plain.keep)
        yield Run(folder, config_hash, "finished", cfg, data_hash, init, cache)
        return
    with ExitStack() as held:
        stop = held.enter_context(terminate_on_signal())
        try:
            held_lock = held.enter_context(hold_lock(lock, folder, wait))
            state = _prepare_folder(folder, config_hash, plain, repeats)
        except OSError as error:
            raise RunError(
                f"paths.runs={plain.paths.runs}: the folder cannot be written ({error.strerror}). Choose another one."
            ) from error
        yield Run(folder, config_hash, state, cfg, data_hash, init, cache, stop, held_lock, processes)


def _prepare_folder(folder: Path, config_hash: str, cfg: DictConfig, repeats: bool) -> State:
    """Make the folder ready for the stage and return the state that the run starts from."""
    state = run_state(folder, config_hash)
    if repeats and state != "pending":
        # result.json goes first: an interrupted removal must not leave a run that looks finished.
        (folder / "result.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
        state = "pending"
    if state == "finished":
        remove_leftovers(folder, cfg.keep)
        return state
    if (folder / "result.json").exists():
        print(f"{folder / 'result.json'}: unreadable. The run is repeated.", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporary_files(folder)
    (folder / "failure.json").unlink(missing_ok=True)
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    return state


def find_finished_runs(runs: Path, stage: str, dataset: str) -> Iterator[tuple[Path, DictConfig, dict[str, Any]]]:
    """Yield (folder, config, result) of each finished run of a stage on a data set, sorted by folder."""
    for path in sorted((runs / stage / dataset).glob("*/result.json")):
        folder, file = path.parent, path.name
        try:
            result = dict(Fields.from_record(read_json(path)).content)
            file = "config.yaml"
            cfg = _create_config(folder)
        except (OSError, ValueError) as error:
            _report_unreadable(folder, f"{file}: {describe_error(error)}")
            continue
        yield folder, cfg, result


@cache  # the runs of a sweep search the same folders
def _report_unreadable(folder: Path, reason: str) -> None:
    """Print one line about a folder that the search ignores; once in this process."""
    text = f"{folder}: result.json or config.yaml is unreadable. The run is ignored. Reason: {reason}."
    print(make_printable(text), file=sys.stderr)


def load_config(folder: Path) -> DictConfig | None:
    """Return a run's config.yaml, or None if it is missing, unreadable, incomplete or not resolved."""
    try:
        return _create_config(folder)
    except (OSError, ValueError):
        return None


def _create_config(folder: Path) -> DictConfig:
    """Return a run's config.yaml with attributes for its keys. It holds no references, so that nothing is resolved.

    Raises:
        OSError, ValueError: as `read_config`, or a value is not one of a config.
    """
    try:
        return OmegaConf.create(read_config(folder / "config.yaml"))
    except OmegaConfBaseException as error:
        raise ValueError(str(error)) from error
