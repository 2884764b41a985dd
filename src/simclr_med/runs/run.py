"""One run: its state, its folder and lock while it is open, and the files that it writes when it ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from omegaconf import DictConfig, OmegaConf

from simclr_med.atomic import remove_temporary_files, write_json, write_text
from simclr_med.errors import BusyError, RunError
from simclr_med.runs.failures import reword_error, write_failure
from simclr_med.runs.file_hashes import hash_files
from simclr_med.runs.identity import PROTOCOL_VERSION as PROTOCOL_VERSION
from simclr_med.runs.identity import Init, compute_config_hash
from simclr_med.runs.job_cache import JobCache
from simclr_med.runs.leftovers import RESUMABLE, find_leftovers, remove_leftovers
from simclr_med.runs.lock import HeldLock, hold_lock
from simclr_med.runs.names import run_folder
from simclr_med.runs.processes import FirstProcess
from simclr_med.runs.provenance import record_init
from simclr_med.runs.signals import StopSignal, terminate_on_signal
from simclr_med.runs.states import State, run_state
from simclr_med.safe_files import read_json

SCHEMA_VERSION = 1


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
        is_one_of_several: whether the job has more runs, so that this one prints less.
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
    is_one_of_several: bool = False

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
                "init": record_init(self.init),
            },
        }
        if self.init.teacher is not None:
            content["provenance"]["teacher"] = record_init(self.init.teacher)
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
        write_failure(self.folder, error, OmegaConf.to_container(self.plain, resolve=True))
        reworded = reword_error(error, self.folder)
        if reworded is not None:
            raise reworded from error


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
