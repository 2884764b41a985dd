"""The dashboard at Weights & Biases that stage=report saves: all views, or their specification if W&B is offline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from simclr_med.errors import RunError


def require_dashboard_package() -> None:
    """Check that wandb-workspaces is installed.

    Raises:
        RunError: it is not.
    """
    if find_spec("wandb_workspaces") is None:
        raise RunError(
            "stage.dashboard=true: the package wandb-workspaces is not installed. Run pip install "
            "'simclr-med[dashboard]', or remove stage.dashboard."
        )


def save_dashboard(project: str, datasets: Sequence[str], timeout_s: float, path: Path) -> None:
    """Save the views at Weights & Biases and print their addresses, or print why they cannot be saved.

    Args:
        project: W&B project of the runs.
        datasets: data sets of the shown runs; empty shows all.
        timeout_s: seconds to wait for the server.
        path: JSON to write with the specifications and the addresses of the views.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # before wandb is imported
    from simclr_med.tracking import workspaces
    from simclr_med.tracking.wandb_mode import resolve_mode

    # Written before the server is contacted, because writing also checks the specifications.
    workspaces.write_specifications(path, workspaces.build_workspaces("", project, datasets), [])
    mode, reason = resolve_mode(timeout_s)
    entity = os.environ.get("WANDB_ENTITY", "")
    addresses: list[str] = []
    problem = ""
    if mode == "online":
        try:
            entity = entity or workspaces.fetch_default_entity()
            for workspace in workspaces.build_workspaces(entity, project, datasets):
                addresses.append(workspaces.save_workspace(workspace))
                print(f"Dashboard: {addresses[-1]}", flush=True)
        except RunError as error:
            problem = str(error)
    else:
        problem = f"{reason or f'WANDB_MODE is {mode}'}. Repeat the command when online"
    workspaces.write_specifications(path, workspaces.build_workspaces(entity, project, datasets), addresses)
    if problem:
        print(f"Dashboard: not saved: {problem}. Specification: {path}", flush=True)
