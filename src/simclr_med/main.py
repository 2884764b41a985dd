"""The console entry and the one Hydra main: compose, validate, find or make the run, call its stage."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from simclr_med import build, runs
from simclr_med.config.explain import explained
from simclr_med.config.guide import guide
from simclr_med.config.registry import register
from simclr_med.config.validate import checked
from simclr_med.config.words import readable
from simclr_med.errors import RunError, UserError

# In a wheel conf/ travels inside the package; in a checkout it stands at the top.
_INSIDE = Path(__file__).parent / "conf"
CONF = _INSIDE if _INSIDE.is_dir() else Path(__file__).parents[2] / "conf"

register()
# Exit status of every job of this process: Hydra's basic launcher runs them here, one after another.
_statuses: list[int] = []


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def job(cfg: DictConfig) -> int:
    """One run: 0 when it is finished, else the error's exit code. It returns and never raises, so a sweep goes on."""
    status = _status(cfg)
    _statuses.append(status)
    return status


def main() -> None:
    """The command ``simclr-med``."""
    extra = _config_dir(sys.argv)
    if {"--help", "-h"} & set(sys.argv):
        print(guide([CONF, *([Path(extra)] if extra else [])]))
        return
    sys.argv[1:] = [readable(word) for word in sys.argv[1:]]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its exceptions to us instead of printing them
    try:
        job()
    except KeyboardInterrupt:
        sys.exit(130)
    except (HydraException, OmegaConfBaseException, UserError) as error:
        words = [word for word in sys.argv[1:] if not word.startswith("-") and word != extra]
        told = explained(words, CONF, extra) or str(error).splitlines()[:1]
        print("\n".join(told), file=sys.stderr)
        sys.exit(2)
    sys.exit(max(_statuses, default=0))


def _status(cfg: DictConfig) -> int:
    try:
        _run(checked(cfg))
    except UserError as error:
        print("\n".join(error.problems), file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def _run(cfg: DictConfig) -> None:
    source = build.source(cfg)
    origin = build.built(cfg.init)
    data_hash = source.content_hash()
    if cfg.dry_run:
        config_hash = runs.identity(cfg, data_hash, origin.hash)
        folder = runs.folder_of(cfg, config_hash)
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
            sys.exit(143 if isinstance(stop, SystemExit) and stop.code is None else 130)
        except UserError as error:
            run.fail(error)
            raise
        except Exception as error:
            run.fail(error)
            first = (str(error) or "no message").splitlines()[0]
            raise RunError(f"{type(error).__name__}: {first} (traceback in {run.folder / 'failure.json'})") from error


def _config_dir(argv: list[str]) -> str | None:
    """The value of --config-dir or -cd on the command line."""
    for position, word in enumerate(argv):
        for flag in ("--config-dir", "-cd"):
            if word.startswith(f"{flag}="):
                return word.split("=", 1)[1]
            if word == flag and position + 1 < len(argv):
                return argv[position + 1]
    return None


if __name__ == "__main__":
    main()
