"""The processes that srun or torchrun started together for one command, as their environment variables say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simclr_med.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """The processes that a launcher started together.

    Attributes:
        launcher: srun or torchrun.
        rank: of this process among all; the process of rank 0 decides and writes.
        processes: on all nodes together, 2 or more.
        on_node: processes on each node.
    """

    launcher: str
    rank: int
    processes: int
    on_node: int

    def check(self, nodes: int, devices: int) -> None:
        """Check that the launcher started one process for each device of each node.

        Args:
            nodes, devices: of the config's group trainer.

        Raises:
            ConfigError: there are more or fewer processes.
        """
        if self.processes != nodes * devices or self.on_node != devices:
            raise ConfigError(
                f"trainer.nodes={nodes} trainer.devices={devices}: expected {nodes} x {devices} processes, {devices} "
                f"on each node; {self.launcher} started {self.processes}, {self.on_node} on each node. Change "
                f"trainer.nodes and trainer.devices, or the options of {self.launcher}."
            )


def find_launch(environment: Mapping[str, str]) -> Launch | None:
    """Return the processes that a launcher started together with this one, or None if it is alone.

    Args:
        environment: variables of this process.

    Raises:
        ConfigError: the environment does not say how many tasks srun started on each node.
    """
    if "TORCHELASTIC_RUN_ID" in environment:  # also where srun started torchrun
        processes = int(environment["WORLD_SIZE"])
        rank, on_node = int(environment["RANK"]), int(environment["LOCAL_WORLD_SIZE"])
        return Launch("torchrun", rank, processes, on_node) if processes > 1 else None
    # A batch script and salloc's shell are no step, or a step of one task, whatever the job's number of tasks.
    processes = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if processes == 1:
        return None
    if "SLURM_NTASKS_PER_NODE" not in environment:  # Lightning refuses to start without it
        raise ConfigError(
            f"srun: started {processes} tasks without --ntasks-per-node. Add --ntasks-per-node=<devices of a node>."
        )
    return Launch("srun", int(environment["SLURM_PROCID"]), processes, int(environment["SLURM_NTASKS_PER_NODE"]))


def check_nodes(launch: Launch | None, nodes: int, devices: int) -> None:
    """Check that the command runs in as many processes as its nodes and devices need.

    Args:
        launch: of this command; None for one process, which starts the others of its node by itself.
        nodes, devices: of the config's group trainer.

    Raises:
        ConfigError: there are more or fewer processes.
    """
    if launch is not None:
        launch.check(nodes, devices)
    elif nodes > 1:
        raise ConfigError(
            f"trainer.nodes={nodes}: this command was started as one process. Start one process for each device with "
            "srun or torchrun, or set trainer.nodes=1."
        )
