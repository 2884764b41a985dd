"""The function that Hydra calls once for each job, with what the jobs of one process share."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from simclr_med.cli.failures import ProblemPrinter
from simclr_med.cli.jobs import Job
from simclr_med.config.folders import CONF
from simclr_med.config.registry import register
from simclr_med.runs.gpus import claim_gpus
from simclr_med.runs.processes import FirstProcess
from simclr_med.runs.sweep import RunOutcome, SweepJob, current_job, exit_status, mean_objective, record_outcomes

# A worker of a parallel sweep imports this module before it composes the config of its job.
register()


class Session:
    """The jobs of one process. Hydra calls it with the config of each job.

    It returns an exit code, or the value of ``objective`` to a sweeper that optimises it. It never raises an Exception,
    so that a sweep continues after a failed job. Launchers pickle it for their workers; a worker gets an empty session.

    Args:
        in_worker: whether another process started the sweep that this session works on.
        allow_code: whether allow_code was typed on the command line. Otherwise it is false, whatever a YAML says.
        processes: hands trainings to the other processes of the command; a worker has none.

    Attributes:
        outcomes: of all runs outside a sweep. Those of a sweep are in its records.
        postponed: sweep jobs that another process was running when their turn came.
    """

    def __init__(
        self, in_worker: bool = False, allow_code: bool = False, processes: FirstProcess | None = None
    ) -> None:
        self.in_worker = in_worker
        self.allow_code = allow_code
        self.processes = processes
        self.outcomes: list[RunOutcome] = []
        self.postponed: list[tuple[SweepJob, DictConfig]] = []
        self.printer = ProblemPrinter()

    def __reduce__(self) -> tuple[type[Session], tuple[bool, bool]]:
        return Session, (True, self.allow_code)

    def __call__(self, cfg: DictConfig) -> float:
        cfg.allow_code = cfg.allow_code and self.allow_code
        cfg.paths.own = _own_folders()
        job = current_job()
        if job is not None:
            # A worker cannot come back to a job later, so it waits.
            return self._run_sweep_job(job, cfg, wait=self.in_worker)
        self.outcomes += Job(cfg, HydraConfig.get().overrides.task, processes=self.processes).run(self.printer)
        return exit_status(self.outcomes)

    def run_postponed(self) -> None:
        """Run the postponed jobs of a sweep, waiting for the other process where needed."""
        for job, cfg in self.postponed:
            self._run_sweep_job(job, cfg, wait=True)

    def _run_sweep_job(self, job: SweepJob, cfg: DictConfig, wait: bool) -> float:
        """Run a sweep job, with a record before its start (an interrupted job keeps it) and after its end.

        Returns:
            the exit code; with ``objective`` its value, NaN where a run of the job has none.
        """
        print(f"Job {job.number}: {' '.join(job.overrides)}", flush=True)
        record_outcomes(job, [RunOutcome("started", 1)])
        if self.in_worker:
            claim_gpus(cfg.trainer.devices)
        outcomes = Job(cfg, job.overrides, wait, in_sweep=True, processes=self.processes).run(self.printer)
        record_outcomes(job, outcomes)
        if not wait and any(outcome.outcome == "busy" for outcome in outcomes):
            self.postponed.append((job, cfg))
        return exit_status(outcomes) if cfg.objective is None else mean_objective(outcomes, cfg.objective)


def _own_folders() -> list[str]:
    """The folders of the user's own options, from --config-dir or hydra.searchpath."""
    sources = HydraConfig.get().runtime.config_sources
    folders = (Path(source.path).absolute() for source in sources if source.schema == "file")
    return [str(folder) for folder in folders if folder != CONF]
