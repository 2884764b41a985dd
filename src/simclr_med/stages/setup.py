"""What a stage needs from its config: data, encoder, trainer, and the frame of threads, clock, loggers and summary."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from omegaconf import OmegaConf

from simclr_med import build
from simclr_med.atomic import write_text
from simclr_med.config.nodes import Option
from simclr_med.config.schema import Config
from simclr_med.config.stage_nodes import Stage, TrainingStage
from simclr_med.csv_cells import escape_cell
from simclr_med.data.datamodule import ImageDataModule
from simclr_med.data.source import Source
from simclr_med.errors import ConfigError
from simclr_med.evaluation.predictions import Predictions
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import Encoder, is_encoder, set_option
from simclr_med.models.imagenet import download_weights
from simclr_med.models.speed import apply_speedups
from simclr_med.runs.file_hashes import verify_files
from simclr_med.runs.identity import Init, budget_name, method_name
from simclr_med.runs.provenance import git_commit, package_versions
from simclr_med.runs.run import Run
from simclr_med.stages.saved_run import check_targets
from simclr_med.stages.summary import print_summary
from simclr_med.streams import Stream
from simclr_med.tracking.loggers import close_loggers, log_pictures, log_predictions
from simclr_med.training import devices
from simclr_med.training.callbacks.checkpoint import find_resumable
from simclr_med.training.callbacks.early_stopping import epochs_to_train
from simclr_med.training.callbacks.late_loggers import LateLoggers
from simclr_med.training.callbacks.lock_check import LockCheck
from simclr_med.training.resume_check import find_flaw
from simclr_med.training.trainer import build_trainer
from simclr_med.types import SPLITS, Split

S = TypeVar("S", bound=Stage)
T = TypeVar("T", bound=TrainingStage)

ENDING_S = 5.0  # that loggers have to start after the run has failed

# The path of a checkpoint and its content.
Checkpoint = tuple[Path, dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a stage hands over when its work is done.

    Attributes:
        title: of the summary, without the time.
        rows: of the summary.
        metrics, intervals, tables: as `Run.finish` takes them.
        facts: provenance besides what every result says.
        timing: seconds and images a second; None takes the time since the stage began.
        pictures: PNG files, listed in the summary and shown by the loggers.
        tables_written: files that the summary lists.
        predictions: shown by the loggers as a table; None shows nothing.
        images: opens the images of the predictions, uint8 [N, H, W, C].
        logged: metrics that the loggers get; None gives them `metrics`.
    """

    title: str
    rows: Mapping[str, str]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    timing: Mapping[str, float] | None = None
    pictures: Sequence[Path] = ()
    tables_written: Sequence[Path] = ()
    predictions: Predictions | None = None
    images: Callable[[], np.ndarray] | None = None
    logged: Mapping[str, float] | None = None


class StageFrame:
    """The clock and the loggers of a stage at work; `open_stage` makes it.

    Args:
        run: of the stage.
    """

    def __init__(self, run: Run[Config[Any]]) -> None:
        self.run = run
        self.loggers: list[Any] = []
        self._late: LateLoggers | None = None
        self._began = time.monotonic()
        self._outcome: Outcome | None = None
        self._wall_s = 0.0

    def start_loggers(self) -> list[Any]:
        """Start the run's loggers; after the checks of the data, so that a refused run logs nothing."""
        self.loggers = prepare_loggers(self.run)()
        return self.loggers

    def start_loggers_late(self) -> LateLoggers:
        """Start the run's loggers in a thread; `wait_for_loggers` ends it."""
        self._late = LateLoggers(prepare_loggers(self.run))
        return self._late

    def wait_for_loggers(self, timeout: float | None = None) -> None:
        """Take over the loggers that a thread has started.

        Raises:
            TimeoutError: they have not started after so many seconds.
        """
        if self._late is not None:
            self.loggers = self._late.join(timeout)

    def finish(self, outcome: Outcome) -> None:
        """Log pictures and predictions, then the scores, and write result.json.

        The scores come last, since what is logged before them goes into their row.

        Raises:
            RunError: the lock of the run's folder was lost.
        """
        self.run.check_lock()
        log_pictures(self.loggers, outcome.pictures)
        log_predictions(self.loggers, outcome.predictions, outcome.images)
        logged = outcome.metrics if outcome.logged is None else outcome.logged
        if logged:
            for logger in self.loggers:
                logger.log_metrics(logged)
        timing = outcome.timing or {"wall_s": round(time.monotonic() - self._began, 3)}
        facts = {**collect_provenance(self.run), **outcome.facts}
        self.run.finish(outcome.metrics, timing, facts, outcome.intervals, outcome.tables)
        self._outcome, self._wall_s = outcome, timing["wall_s"]

    def print_summary(self) -> None:
        """Print the outcome, if the stage finished."""
        if self._outcome is None:
            return
        title = f"{self._outcome.title}: done in {self._wall_s:.{0 if self._wall_s >= 100 else 1}f} s"
        print_summary(title, self._outcome.rows, self.run.folder, self._outcome.pictures)
        for path in self._outcome.tables_written:
            print(f"Table:    {path}")


@contextmanager
def open_stage(run: Run[Config[Any]], uses_device: bool = True) -> Iterator[StageFrame]:
    """Set threads and arithmetic, run the stage's block, then close the loggers and print the summary.

    Args:
        run: of the stage.
        uses_device: whether the stage computes on the run's device; its first line then names a GPU, and a
            precision other than float32.
    """
    trainer = run.cfg.trainer
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    devices.set_gpu_arithmetic(trainer.precision)
    device = devices.resolve_device(trainer.accelerator) if uses_device else torch.device("cpu")
    trains = isinstance(run.cfg.stage, TrainingStage)
    precision = devices.name_precision(trainer.precision, trainer.accelerator) if trains else "32-true"
    if device.type != "cpu" or precision != "32-true":
        print(f"Device: {devices.describe_device(device)}, precision {precision}", flush=True)
    frame = StageFrame(run)
    try:
        yield frame
    except BaseException:
        with suppress(Exception):  # of their start, which may be the one that is raised already
            frame.wait_for_loggers(ENDING_S)
        close_loggers(frame.loggers, failed=True)
        raise
    close_loggers(frame.loggers, failed=False)
    frame.print_summary()


@dataclass(frozen=True)
class TrainingSetup(Generic[T]):
    """What a training stage is built from, made once by `build_training_setup`.

    Attributes:
        run, source: of the stage.
        data: read and cut to the label budget.
        device: that the run computes on.
    """

    run: Run[Config[T]]
    source: Source
    data: ImageDataModule
    device: torch.device

    @property
    def metrics_csv(self) -> Path:
        return self.run.folder / "metrics.csv"

    @property
    def figures(self) -> Path:
        """The folder of the run's pictures, which exists."""
        folder = self.run.folder / "figures"
        folder.mkdir(exist_ok=True)
        return folder

    def find_checkpoint(self, module: LightningModule, callbacks: Sequence[Callback]) -> Checkpoint | None:
        """Return the newest usable checkpoint and its content, or None for a run that starts.

        Raises:
            CheckpointError: there are checkpoints, and none is usable.
        """
        stage, steps = self.run.cfg.stage, self.data.steps_per_epoch
        check = partial(find_flaw, module=module, callbacks=callbacks, epochs=stage.epochs, steps=steps)
        return find_resumable(self.run.checkpoints, check)

    def fit(
        self,
        module: LightningModule,
        callbacks: Sequence[Callback],
        frame: StageFrame,
        checkpoint: Checkpoint | None,
        validate_every: int | None = None,
    ) -> None:
        """Start the loggers and train, from the checkpoint where there is one.

        Args:
            module: at its first step.
            callbacks: of the trainer.
            frame: of the stage; starts the loggers.
            checkpoint: of `find_checkpoint`.
            validate_every: as in `build_trainer`.

        Raises:
            RunError: the lock of the run's folder was lost.
        """
        run = self.run
        epochs = run.cfg.stage.epochs
        # A resumed run logs what the loggers lack, and other processes get the loggers when they start.
        starts_late = checkpoint is None and run.cfg.trainer.devices == 1 and run.cfg.logger.loggers
        late = [frame.start_loggers_late()] if starts_late else []
        loggers = [] if starts_late else frame.start_loggers()
        trainer = build_trainer(
            run.plain.trainer,
            build_strategy(run),
            run.folder,
            epochs if checkpoint is None else epochs_to_train(checkpoint[1], epochs),
            self.data.steps_per_epoch,
            run.cfg.stage.micro_batches,
            callbacks=[*([LockCheck(run.lock)] if run.lock is not None else []), *late, *callbacks],
            loggers=loggers,
            validate_every=validate_every,
        )
        if checkpoint is not None:
            print(f"resuming from epoch {checkpoint[1]['epoch'] + 1} of {epochs}: {run.folder}", flush=True)
        path = None if checkpoint is None else checkpoint[0]
        trainer.fit(module, datamodule=self.data, ckpt_path=path, weights_only=True)
        frame.wait_for_loggers()
        run.check_lock()


def build_training_setup(run: Run[Config[T]], source: Source) -> TrainingSetup[T]:
    """Read the data and print its notes."""
    data = load_images(run, source)
    for note in data.notes:
        print(note, flush=True)
    device = devices.resolve_device(run.cfg.trainer.accelerator)
    return TrainingSetup(run, source, data, device)


def load_images(run: Run[Config[T]], source: Source) -> ImageDataModule:
    """Read the run's data, cut to its label budget; split.csv records the split of each file of a folder."""
    cfg = run.cfg
    data = ImageDataModule(
        source,
        fraction_arguments(cfg)
        | {"hold_out": cfg.stage.chooses_by_labels and cfg.data_fraction.validation == "within"},
        batch_size=cfg.stage.batch_size,
        seed=cfg.seed,
        accumulate=cfg.stage.micro_batches,
        processes=cfg.trainer.devices,
        bank=cfg.stage.knn_bank,
        limit_steps=cfg.trainer.limit_steps,
    )
    data.setup()
    parts = {"train": data.train.names} | ({} if data.holds_out else {"val": data.val.names})
    if all(names is not None for names in parts.values()):
        text = io.StringIO()
        rows = ((escape_cell(name), part) for part, names in parts.items() for name in names or ())
        csv.writer(text, lineterminator="\n").writerows([("file", "split"), *rows])
        write_text(run.folder / "split.csv", text.getvalue())
    return data


def fraction_arguments(cfg: Config[Any]) -> dict[str, Any]:
    """The group data_fraction as keyword arguments of `subsets.order_subset`."""
    content = cfg.data_fraction.to_dict()
    del content["name"], content["validation"]
    return content


def scored_splits(cfg: Config[Any]) -> tuple[Split, ...]:
    """Return the splits whose labels a stage reads that learns from labels; test last."""
    return ("train", "test") if cfg.data_fraction.validation == "within" else SPLITS


def collect_provenance(run: Run[Config[Any]]) -> dict[str, Any]:
    """What every result says of how it was made."""
    return {"git": git_commit(), "versions": package_versions(), "threads": torch.get_num_threads()}


def build_network(node: Mapping[str, Any], seed: int, recorded: Mapping[str, Any] = MappingProxyType({})) -> Encoder:
    """Build the encoder of an option of ``conf/encoder``, with random weights of a seed and with the speed-ups.

    Args:
        node: the option's keys.
        seed: of the weights.
        recorded: values of a saved run, used instead of the option's own (`simclr_med.config.options`).

    Raises:
        ConfigError: the option's target does not return an `Encoder`.
    """
    own = {key: value for key, value in node.items() if key not in recorded}
    with seeded_init(seed, Stream.ENCODER):
        encoder = build.instantiate_partial(own)(**recorded)
    if not is_encoder(encoder):
        raise ConfigError(
            f"encoder={node['name']}: {node['_target_']} returns no encoder. Return a module with the attributes and "
            "methods of simclr_med.models.encoders.Encoder."
        )
    set_option(encoder, {**node, **recorded})
    apply_speedups(encoder)
    return encoder


def build_encoder(run: Run[Config[Any]]) -> tuple[Encoder, str]:
    """Return the encoder at the run's first step, and where its weights come from, in words."""
    if run.init.run is not None:
        check_targets(run.init.run, run.cfg.allow_code)
    encoder = build_network(run.plain.encoder, run.cfg.seed if run.init.seed is None else run.init.seed)
    return encoder, load_initial_weights(encoder, run.init)


def load_initial_weights(encoder: Encoder, init: Init) -> str:
    """Load an encoder's initial weights, in place, and return where they come from, in words.

    Raises:
        CheckpointError: the file does not fit, is damaged, or has changed since its run finished.
    """
    if init.path is None:
        return f"random weights of seed {init.seed}"
    if init.url is not None:
        download_weights(init.url, init.path)
    note = None if init.run is None else verify_files(init.run, "config.yaml", init.path.name)
    if note:
        print(note, flush=True)
    return load_weights(encoder, load_encoder_state(init.path))


def prepare_loggers(run: Run[Config[Any]]) -> Callable[[], list[Any]]:
    """Return the function that builds the run's loggers and logs its config and environment.

    `tracking.loggers.close_loggers` ends them.
    """
    cfg = run.cfg
    budget = budget_name(cfg.data_fraction)
    # Read here: each thread has a number of torch threads of its own.
    parameters: Any = OmegaConf.to_container(run.plain, resolve=True)
    parameters |= {
        "method": method_name(run.plain, run.init),
        "config_hash": run.config_hash,
        "data_hash": run.data_hash,
        "environment": numerics_environment(run) | collect_provenance(run),
    }

    def build_loggers() -> list[Any]:
        loggers = [
            build.instantiate_node(
                node,
                folder=run.folder,
                name=f"{cfg.stage.name}-{cfg.dataset.name}-{run.config_hash[:10]}",
                group=f"{cfg.stage.name}-{cfg.dataset.name}",
                job_type=cfg.stage.name,
                tags=[cfg.dataset.name, cfg.augmentation.name, cfg.encoder.name, budget, f"seed{cfg.seed}"],
            )
            for node in cfg.logger.loggers
        ]
        for logger in loggers:
            logger.log_hyperparams(parameters)
        return loggers

    return build_loggers


def build_strategy(run: Run[Config[Any]]) -> Any:
    """Lightning's strategy: a flag as it is, or the object that the config names; one device needs no processes."""
    strategy = run.cfg.trainer.strategy
    if run.cfg.trainer.devices == 1:
        return "auto"
    return strategy if isinstance(strategy, str) else build.instantiate_node(strategy)


def numerics_environment(run: Run[Config[Any]]) -> dict[str, Any]:
    """What the bits of the run's weights depend on besides its config."""
    node = run.cfg.trainer
    precision = devices.name_precision(node.precision, node.accelerator)
    return devices.numerics_environment(devices.resolve_device(node.accelerator), node.devices, precision)


def build_optimizer(node: Option, named_parameters: Any) -> torch.optim.Optimizer:
    """Build the optimizer of a config's node for these parameters (picklable with functools.partial)."""
    make = build.instantiate_partial(node)
    if node._target_.startswith("torch.optim."):  # torch's own take no names
        made = make(params=[parameter for _, parameter in named_parameters if parameter.requires_grad])
    else:
        made = make(named_parameters=named_parameters)
    optimizer: torch.optim.Optimizer = made
    return optimizer


def schedule_builder(run: Run[Config[T]], steps_per_epoch: int) -> Callable[[], Callable[[int], float]]:
    """Return a picklable function that builds the schedule: optimizer step to factor on the learning rate."""
    steps = steps_per_epoch * run.cfg.stage.epochs
    return partial(build.instantiate_node, run.cfg.schedule, total_steps=steps, steps_per_epoch=steps_per_epoch)


@contextmanager
def seeded_init(seed: int, stream: int) -> Iterator[None]:
    """Make weights initialised inside a function of (seed, stream); restore torch's global generator afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> 1))
        yield
