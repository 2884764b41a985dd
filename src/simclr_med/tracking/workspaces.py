"""Saved views at Weights & Biases: one workspace for each view of `panels`.

All panels of a saved view share one filter, and pretraining and finetuning both log train/loss. Each view therefore
selects the job types of its own stages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb
import wandb_workspaces.workspaces as ws
from wandb_workspaces.workspaces import internal

from simclr_med.atomic import write_json
from simclr_med.errors import RunError
from simclr_med.tracking.panels import MAX_RUNS, View, build_views


def build_workspaces(entity: str, project: str, datasets: Sequence[str] = ()) -> list[ws.Workspace]:
    """Return the workspaces of all views without saving them; equal arguments give equal specifications.

    Args:
        entity: user or team that owns the project.
        project: W&B project of the runs.
        datasets: data sets of the shown runs; empty shows all.
    """
    return [_build_workspace(view, entity, project, datasets) for view in build_views()]


def to_specification(workspace: ws.Workspace) -> dict[str, Any]:
    """Return the JSON that the server receives.

    Raises:
        ValueError: wandb-workspaces does not read the specification back unchanged, so W&B's page may not either.
    """
    written = _serialise(workspace)
    model = internal.View(
        entity=workspace.entity,
        project=workspace.project,
        display_name=workspace.name,
        name="",
        id="",
        spec=internal.WorkspaceViewspec.model_validate(written),
    )
    if _serialise(ws.Workspace._from_model(model)) != written:
        raise ValueError(f"the view {workspace.name} changes when wandb-workspaces reads it back")
    return written


def save_workspace(workspace: ws.Workspace) -> str:
    """Create the view at Weights & Biases or update the view of the same name; return its address.

    Raises:
        RunError: the server refuses the view or does not respond.
    """
    try:
        workspace._internal_id = _find_view_id(workspace)
        return str(workspace.save().url)
    except Exception as error:  # the library, wandb's process and the server raise errors without a common class
        reason = " ".join((str(error) or type(error).__name__).split())
        raise RunError(f"{workspace.entity}/{workspace.project} refused the view ({reason[:200]})") from error


def write_specifications(path: Path, workspaces: Sequence[ws.Workspace], addresses: Sequence[str]) -> None:
    """Write the views as JSON: title, address (null for a view that is not saved) and specification."""
    urls = [*addresses, *[None] * (len(workspaces) - len(addresses))]
    content = [
        {"title": workspace.name, "url": url, "specification": to_specification(workspace)}
        for workspace, url in zip(workspaces, urls, strict=True)
    ]
    write_json(path, {"entity": workspaces[0].entity or None, "project": workspaces[0].project, "views": content})


def fetch_default_entity() -> str:
    """Return the user or team of the API key.

    Raises:
        RunError: the server does not respond with one.
    """
    try:
        return str(wandb.Api().default_entity or "")
    except Exception as error:  # as in `save_workspace`
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"cannot read the user of the API key ({reason})") from error


def _build_workspace(view: View, entity: str, project: str, datasets: Sequence[str]) -> ws.Workspace:
    filters: list[Any] = [ws.Metric("JobType").isin(list(view.stages))]
    if datasets:
        filters.append(ws.Metric("Group").isin([f"{stage}-{name}" for stage in view.stages for name in datasets]))
    title = ": ".join(["simclr-med", *([", ".join(sorted(datasets))] if datasets else []), view.title])
    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=title,
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in view.sections.items()],
        settings=ws.WorkspaceSettings(max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(filters=ws.And(*filters), pinned_columns=["run:jobType", *view.columns]),
    )
    # The names follow from the title, so that a repeated command finds its view on every machine.
    workspace._internal_name = f"nw-{_digest(title)}-v"
    for section in workspace.sections:
        panels: list[Any] = section.panels
        for number, panel in enumerate(panels):
            panel._id = _digest(title, section.name, str(number))
    return workspace


def _find_view_id(workspace: ws.Workspace) -> str:
    """Return the server's id of the view of this name; empty if there is none."""
    name = internal._internal_name_to_url_query_str(workspace._internal_name)
    try:
        return str(internal.get_view_dict(workspace.entity, workspace.project, name)["id"])
    except ValueError:  # raised by the library if the view does not exist
        return ""


def _serialise(workspace: ws.Workspace) -> dict[str, Any]:
    text = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    return dict(json.loads(text))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:11]
