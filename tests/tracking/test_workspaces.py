"""The dashboard's views: built alike each time, read back as written, and made once however often they are saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import wandb_server

from simclr_med.errors import RunError
from simclr_med.tracking import workspaces
from simclr_med.tracking.panels import views

TITLES = ["label efficiency", "augmentation ablation", "pretraining", "supervised training", "pictures"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[wandb_server.Kept]:
    for name in ("MODE", "PROJECT", "ENTITY", "IDENTITY_TOKEN_FILE", "RUN_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    with wandb_server.serving() as kept:
        monkeypatch.setenv("WANDB_BASE_URL", kept.address)
        wandb.teardown()
        yield kept
        wandb.teardown()


def panels(specification: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for part in specification["section"]["panelBankConfig"]["sections"] for panel in part["panels"]]


def test_every_view_survives_the_librarys_own_reading() -> None:
    found = [workspaces.specification(workspace) for workspace in workspaces.build_workspaces("lab", "cells", ["skin"])]
    assert [view.title for view in views()] == TITLES
    assert [len(panels(one)) for one in found] == [
        sum(map(len, view.sections.values())) for view in views()
    ]  # fmt: skip
    again = [workspaces.specification(workspace) for workspace in workspaces.build_workspaces("lab", "cells", ["skin"])]
    assert again == found
    names = [panel["__id__"] for one in found for panel in panels(one)]
    assert len(set(names)) == len(names)


def test_a_view_that_is_read_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = workspaces.build_workspaces("lab", "cells")[0]
    monkeypatch.setattr(type(workspace), "_from_model", lambda model: workspaces.build_workspaces("lab", "cells")[1])
    with pytest.raises(ValueError, match="label efficiency does not survive"):
        workspaces.specification(workspace)


def test_a_view_shows_the_runs_of_its_stages_and_data_sets_alone() -> None:
    for view, one, narrow in zip(
        views(),
        workspaces.build_workspaces("lab", "c"),
        workspaces.build_workspaces("lab", "c", ["skin", "cells"]),
        strict=True,
    ):
        (stages,) = workspaces.specification(one)["section"]["runSets"][0]["filters"]["filters"]
        assert stages["key"] == {"section": "run", "name": "jobType"}
        assert (stages["op"], stages["value"]) == ("IN", list(view.stages))
        again, groups = workspaces.specification(narrow)["section"]["runSets"][0]["filters"]["filters"]
        assert again == stages
        assert (groups["key"]["name"], groups["connector"]) == ("group", "AND")
        assert set(groups["value"]) == {f"{stage}-{name}" for stage in view.stages for name in ("skin", "cells")}
        assert narrow.name == f"simclr-med: cells, skin: {view.title}"
        assert narrow._internal_name != one._internal_name


def test_what_is_uploaded_is_the_specification_and_saving_again_changes_the_same_view(
    server: wandb_server.Kept,
) -> None:
    assert workspaces.default_entity() == "lab"
    views = workspaces.build_workspaces("lab", "cells")
    addresses = [workspaces.save(workspace) for workspace in views]
    assert [address.partition("?")[0] for address in addresses] == 5 * [f"{server.address}/lab/cells"]
    assert len(set(addresses)) == 5
    for workspace, told in zip(views, server.saved, strict=True):
        assert json.loads(told["spec"]) == workspaces.specification(workspace)
        assert (told["entityName"], told["projectName"], told["type"]) == ("lab", "cells", "project-view")
        assert told["displayName"] == workspace.name
        assert "id" not in told
    assert [workspaces.save(workspace) for workspace in workspaces.build_workspaces("lab", "cells")] == addresses
    assert [told["id"] for told in server.saved[5:]] == [f"id-of-{told['name']}" for told in server.saved[:5]]
    assert len(server.views) == 5


def test_a_refusal_is_one_line(server: wandb_server.Kept) -> None:
    server.refusal = "permission denied\nfor you"
    with pytest.raises(RunError, match=r"^lab/cells takes no view .*permission denied for you") as caught:
        workspaces.save(workspaces.build_workspaces("lab", "cells")[0])
    assert "\n" not in str(caught.value)


def test_what_is_kept_says_which_views_are_there(tmp_path: Path) -> None:
    views = workspaces.build_workspaces("", "cells")
    workspaces.write_specifications(tmp_path / "dashboard.json", views, ["http://there"])
    content = json.loads((tmp_path / "dashboard.json").read_text())
    assert (content["entity"], content["project"]) == (None, "cells")
    assert [view["url"] for view in content["views"]] == ["http://there", None, None, None, None]
    assert [view["specification"] for view in content["views"]] == [
        workspaces.specification(workspace) for workspace in views
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WANDB_MODE": "offline"}, "Weights & Biases is offline here (WANDB_MODE)"),
        ({}, "there are no credentials (wandb login)"),
        ({"WANDB_API_KEY": 40 * "a", "WANDB_BASE_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
    ],
)
def test_offline_the_content_is_kept_and_the_reason_told(
    study: Path, run_report: Callable[..., str], environment: dict[str, str], told: str, tmp_path: Path
) -> None:
    out = run_report(study, environment, "stage.datasets=[cells]", f"stage.out={tmp_path / 'out'}")
    path = tmp_path / "out" / "dashboard.json"
    (line,) = [line for line in out.splitlines() if line.startswith("Dashboard: ")]
    assert line.startswith(f"Dashboard: not made, for {told}")
    assert line.endswith(f"; the same command makes it when online. Its content: {path}")
    assert out.splitlines()[-1] == f"Report:   {tmp_path / 'out' / 'report.html'}"
    content = json.loads(path.read_text())
    assert content["project"] == "ours"
    assert [view["title"] for view in content["views"]] == [f"simclr-med: cells: {title}" for title in TITLES]


def test_the_command_makes_them_and_a_refusal_leaves_the_report(
    server: wandb_server.Kept, study: Path, run_report: Callable[..., str], tmp_path: Path
) -> None:
    where = {"WANDB_API_KEY": 40 * "a", "WANDB_BASE_URL": server.address}
    words = ("stage.datasets=[]", f"stage.out={tmp_path / 'out'}")
    lines = [line for line in run_report(study, where, *words).splitlines() if line.startswith("Dashboard: ")]
    content = json.loads((tmp_path / "out" / "dashboard.json").read_text())
    assert lines == [f"Dashboard: {view['url']}" for view in content["views"]]
    assert content["entity"] == "lab"
    assert [json.loads(told["spec"]) for told in server.saved] == [view["specification"] for view in content["views"]]
    assert {told["projectName"] for told in server.saved} == {"ours"}
    run_report(study, {**where, "WANDB_ENTITY": "others"}, *words)
    assert {told["entityName"] for told in server.saved[5:]} == {"others"}
    server.refusal = "no"
    out = run_report(study, where, *words)
    (line,) = [line for line in out.splitlines() if line.startswith("Dashboard: ")]
    assert "lab/ours takes no view" in line
    assert out.splitlines()[-1].startswith("Report: ")
    content = json.loads((tmp_path / "out" / "dashboard.json").read_text())
    assert {view["url"] for view in content["views"]} == {None}


def test_without_the_library_nothing_is_made(
    study: Path, run_report: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("simclr_med.stages.report.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"^stage.dashboard=true: the package .* pip install 'simclr-med\[dashboard\]'"):
        run_report(study, {"WANDB_MODE": "offline"}, "stage.datasets=[]", f"stage.out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def run_report(
    composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """Run the stage as the command would, with these variables of the environment and no others of wandb's."""
    from simclr_med import build
    from simclr_med.config.validate import validate_config
    from simclr_med.runs.identity import Init
    from simclr_med.runs.run import Run

    def run(study: Path, environment: dict[str, str], *words: str) -> str:
        for name in ("MODE", "API_KEY", "BASE_URL", "ENTITY", "IDENTITY_TOKEN_FILE"):
            monkeypatch.delenv(f"WANDB_{name}", raising=False)
        for name, value in {**environment, "WANDB_PROJECT": "ours", "NETRC": str(tmp_path / "netrc")}.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        cfg = validate_config(composed("stage=report", f"paths.runs={study}", "stage.dashboard=true", *words))
        build.import_stage(cfg)(Run(tmp_path / "report", "0", "new", cfg, "", Init("random", "")), None)
        return capsys.readouterr().out

    return run
