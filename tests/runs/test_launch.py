"""The processes of a command, as srun and torchrun describe them."""

from __future__ import annotations

import pytest

from simclr_med.errors import ConfigError
from simclr_med.runs.launch import Launch, check_nodes, find_launch

STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_NTASKS_PER_NODE": "2"}
AGENT = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a batch script
        (STEP | {"SLURM_STEP_NUM_TASKS": "1"}, None),  # a job of submitit
        (STEP, Launch("srun", 3, 4, 2)),
        (AGENT, Launch("torchrun", 1, 4, 2)),
        (AGENT | STEP, Launch("torchrun", 1, 4, 2)),  # srun started torchrun
        (AGENT | {"WORLD_SIZE": "1", "RANK": "0"}, None),
    ],
)
def test_launch_is_read_from_the_environment(environment: dict[str, str], expected: Launch | None) -> None:
    assert find_launch(environment) == expected


def test_srun_without_tasks_per_node_is_refused() -> None:
    with pytest.raises(ConfigError, match="--ntasks-per-node"):
        find_launch({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"})


def test_number_of_processes_is_checked() -> None:
    launch = Launch("srun", 0, 4, 2)
    check_nodes(launch, nodes=2, devices=2)
    check_nodes(None, nodes=1, devices=4)
    for nodes, devices in ((2, 1), (1, 4), (4, 1)):
        with pytest.raises(ConfigError, match=f"trainer.nodes={nodes} trainer.devices={devices}"):
            check_nodes(launch, nodes, devices)
    with pytest.raises(ConfigError, match=r"trainer\.nodes=2: this command was started as one process"):
        check_nodes(None, nodes=2, devices=1)
