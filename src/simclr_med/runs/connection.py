"""How the processes of one command connect: torch's store for messages, and a process group for each training."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from simclr_med.errors import RunError
from simclr_med.runs.launch import Launch

START_S = 600.0  # seconds that the processes of all nodes may need until they have started
POLL_S = 0.05  # seconds between two looks at the store


def cluster_environment(launch: Launch) -> Any:
    """Return Lightning's description of the launcher. Lightning's requeue is off, since SLURM requeues jobs itself."""
    from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    return TorchElasticEnvironment() if launch.launcher == "torchrun" else SLURMEnvironment(auto_requeue=False)


def open_store(launch: Launch) -> Any:
    """Return torch's store, in which the processes leave each other messages, once all of them have started.

    torchrun's agent serves it, under srun the process of rank 0.

    Raises:
        RunError: a process has not started within `START_S`.
    """
    from torch.distributed import DistError, PrefixStore, rendezvous

    if launch.launcher == "srun":
        environment = cluster_environment(launch)
        _ = environment.main_address, environment.main_port  # sets the variables that torch reads
    try:
        store, *_ = next(
            rendezvous("env://", rank=launch.rank, world_size=launch.processes, timeout=timedelta(seconds=START_S))
        )
    except DistError as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RunError(
            f"{launch.launcher}: the {launch.processes} processes could not connect at {address} ({error}). Set "
            "MASTER_ADDR and MASTER_PORT to a free port of the first node."
        ) from error
    return PrefixStore("simclr_med", store)


@contextmanager
def process_group(store: Any, launch: Launch, number: int, backend: str) -> Iterator[None]:
    """Connect the processes for one training. An error closes the connection, which also ends it in the others.

    Args:
        store: of `open_store`.
        launch: of this command.
        number: of the training, the same on every process.
        backend: the library of torch.distributed, such as ``gloo``.
    """
    from torch import distributed

    distributed.init_process_group(
        backend,
        store=distributed.PrefixStore(f"{number}/group", store),
        rank=launch.rank,
        world_size=launch.processes,
    )
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def wait_for_key(store: Any, key: str, until: float = float("inf")) -> bool:
    """Wait until a key of the store is set, and return whether it was in time.

    It polls, because Python handles no signal during a wait inside the store.

    Args:
        store: of `open_store`.
        key: of the store.
        until: end of the wait, as `time.monotonic` counts seconds.
    """
    while not store.check([key]):
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True
