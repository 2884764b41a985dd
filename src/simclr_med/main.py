"""The console entry and the one Hydra main: compose, validate, find or make the run, call its stage."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from simclr_med import build, naming, runs
from simclr_med.config.curve import cells
from simclr_med.config.explain import explained, first_line
from simclr_med.config.guide import guide
from simclr_med.config.registry import register
from simclr_med.config.validate import checked
from simclr_med.config.words import taken_apart
from simclr_med.errors import ConfigError, RunError, UserError

# In a wheel conf/ travels inside the package; in a checkout it stands at the top.
_INSIDE = Path(__file__).parent / "conf"
CONF = _INSIDE if _INSIDE.is_dir() else Path(__file__).parents[2] / "conf"

register()
# Exit status of every job of this process: Hydra's basic launcher runs them here, one after another.
_statuses: list[int] = []
_said: set[str] = set()


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def job(cfg: DictConfig) -> int:
    """One run: 0 when it is finished, else the error's exit code. It returns and never raises, so a sweep goes on."""
    status = _status(cfg)
    _statuses.append(status)
    return status


def main() -> None:
    """The command ``simclr-med``."""
    try:
        typed = taken_apart(sys.argv[1:])
        Path.cwd()
    except ConfigError as error:
        sys.exit(_told(error))
    except FileNotFoundError:
        sys.exit(_told(RunError("The working directory must exist; it has been removed. Change to another one.")))
    if {"--help", "-h"} & set(typed.flags):
        print(guide([CONF, *([Path(typed.extra)] if typed.extra else [])]))
        return
    sys.argv[1:] = [*typed.flags, *typed.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its exceptions to us instead of printing them
    try:
        job()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # a job tells its own: this is Hydra, which fails on odd words with errors of many kinds
        print("\n".join(explained(typed, CONF) or [first_line(error)]), file=sys.stderr)
        sys.exit(2)
    sys.exit(max(_statuses, default=0))


def _status(cfg: DictConfig) -> int:
    """All runs of one job: one, or one for each budget and seed of the stage; checked before the first starts."""
    try:
        checked_cells = [checked(cell) for cell in cells(cfg)]
    except Exception as error:
        return _told(error)
    return max(_outcome(cell) for cell in checked_cells)


def _outcome(cfg: DictConfig) -> int:
    try:
        _run(cfg)
    except Exception as error:
        return _told(error)
    return 0


def _told(error: Exception) -> int:
    """Print an error, one line a problem, and give its exit code."""
    if isinstance(error, UserError):
        problems, status = error.problems, error.exit_code
    elif isinstance(error, (HydraException, OmegaConfBaseException)):
        problems, status = (_unforeseen(error),), ConfigError.exit_code
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        problems, status = (f"{_unforeseen(error)} ({where}). Please report this fault with the command.",), 1
    for line in (" ".join(problem.splitlines()) for problem in problems):
        if status != ConfigError.exit_code or line not in _said:  # the cells of a sweep share their mistakes
            print(line, file=sys.stderr, flush=True)
        _said.add(line)
    return status


def _unforeseen(error: Exception) -> str:
    """What a library, or a fault of ours, raised."""
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what a target said is worth more than Hydra's word that it said something
    first = first_line(error)
    if isinstance(error, MemoryError) or "out of memory" in first or "can't allocate memory" in first:
        return f"Out of memory ({first}). Lower stage.batch_size or dataset.size, or raise stage.accumulate."
    return f"{type(error).__name__}: {first}"


def _run(cfg: DictConfig) -> None:
    source = build.source(cfg)
    origin = build.built(cfg.init)
    data_hash = source.content_hash()
    if cfg.dry_run:
        config_hash = naming.identity(cfg, data_hash, origin.hash)
        folder = naming.folder_of(cfg, config_hash, origin)
        print(f"{runs.state_of(folder, config_hash):<11} {folder}")
        return
    with runs.opened(cfg, data_hash, origin) as run:
        if run.state == "finished":
            print(f"Finished already (overwrite=true does it again): {run.folder}")
            return
        try:
            build.stage(cfg)(run, source)
        except (KeyboardInterrupt, SystemExit) as stop:
            # Lightning makes a SystemExit(1) of SIGINT and one without a code of SIGTERM. Either ends a sweep as well.
            print(f"Stopped by a signal. The same command goes on from what is saved: {run.folder}", file=sys.stderr)
            sys.exit(143 if isinstance(stop, SystemExit) and stop.code in (None, 143) else 130)
        except UserError as error:
            run.fail(error)
            raise
        except Exception as error:
            run.fail(error)
            raise RunError(f"{_unforeseen(error)} (traceback in {run.folder / 'failure.json'})") from error


if __name__ == "__main__":
    main()
