"""The dashboard at Weights & Biases as code: saved views over the names that the runs log.

A saved view has one filter for all its panels, and pretraining and finetuning both log train/loss; so each question has
a view of its own, which names the job types that it is about.
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
from simclr_med.tracking.panels import RUNS, View, views


def build_workspaces(entity: str, project: str, datasets: Sequence[str] = ()) -> list[ws.Workspace]:
    """Each view as the library's object, not yet saved; the same arguments give the same specification.

    Args:
        entity: user or team that owns the project.
        project: that the runs are logged to.
        datasets: whose runs are shown; none: of all.
    """
    return [_workspace(view, entity, project, datasets) for view in views()]


def specification(workspace: ws.Workspace) -> dict[str, Any]:
    """What the server is given, as JSON.

    Raises:
        ValueError: the library reads it otherwise than it wrote it, so that its users and W&B's page would as well.
    """
    written = _written(workspace)
    model = internal.View(
        entity=workspace.entity,
        project=workspace.project,
        display_name=workspace.name,
        name="",
        id="",
        spec=internal.WorkspaceViewspec.model_validate(written),
    )
    if _written(ws.Workspace._from_model(model)) != written:
        raise ValueError(f"the view {workspace.name} does not survive being read back by wandb-workspaces")
    return written


def save(workspace: ws.Workspace) -> str:
    """Make the view at Weights & Biases, or bring the one of the same name there up to date; its address.

    Raises:
        RunError: the server refuses, or does not answer.
    """
    try:
        workspace._internal_id = _known(workspace)
        return str(workspace.save().url)
    except Exception as error:  # of the library, of wandb's process and of the server's answers, which share no class
        told = " ".join((str(error) or type(error).__name__).split())
        raise RunError(f"{workspace.entity}/{workspace.project} takes no view ({told[:200]})") from error


def write_specifications(path: Path, found: Sequence[ws.Workspace], addresses: Sequence[str]) -> None:
    """Write the views as JSON: title, address (null of one that is not there yet) and specification."""
    told = [*addresses, *[None] * (len(found) - len(addresses))]
    content = [
        {"title": workspace.name, "url": url, "specification": specification(workspace)}
        for workspace, url in zip(found, told, strict=True)
    ]
    write_json(path, {"entity": found[0].entity or None, "project": found[0].project, "views": content})


def default_entity() -> str:
    """Of whoever's key this is.

    Raises:
        RunError: the server does not say.
    """
    try:
        return str(wandb.Api().default_entity or "")
    except Exception as error:  # as in `save`
        raise RunError(f"the server does not say whose key this is ({' '.join(str(error).split())[:200]})") from error


def _workspace(view: View, entity: str, project: str, datasets: Sequence[str]) -> ws.Workspace:
    wanted: list[Any] = [ws.Metric("JobType").isin(list(view.stages))]
    if datasets:
        wanted.append(ws.Metric("Group").isin([f"{stage}-{name}" for stage in view.stages for name in datasets]))
    title = ": ".join(["simclr-med", *([", ".join(sorted(datasets))] if datasets else []), view.title])
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=title,
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in view.sections.items()],
        settings=ws.WorkspaceSettings(max_runs=RUNS),
        runset_settings=ws.RunsetSettings(filters=ws.And(*wanted), pinned_columns=["run:jobType", *view.columns]),
    )
    # Names that follow from the title: the same command again finds the view it made, from wherever it is given.
    made._internal_name = f"nw-{_digest(title)}-v"
    for section in made.sections:
        panels: list[Any] = section.panels
        for number, panel in enumerate(panels):
            panel._id = _digest(title, section.name, str(number))
    return made


def _known(workspace: ws.Workspace) -> str:
    """The server's id of the view of this name; empty when there is none yet."""
    name = internal._internal_name_to_url_query_str(workspace._internal_name)
    try:
        return str(internal.get_view_dict(workspace.entity, workspace.project, name)["id"])
    except ValueError:  # the library's word for a view that is not there
        return ""


def _written(workspace: ws.Workspace) -> dict[str, Any]:
    text = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    return dict(json.loads(text))


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:11]
