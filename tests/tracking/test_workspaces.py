"""The saved views: reproducible, read back unchanged, and updated in place when saved again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import wandb_server
from run_folders import write

from simclr_med.errors import RunError
from simclr_med.tracking import workspaces
from simclr_med.tracking.panels import build_views

TITLES = ["label efficiency", "augmentation ablation", "pretraining", "supervised training", "figures"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[wandb_server.RecordedRequests]:
    for name in ("MODE", "PROJECT", "ENTITY", "IDENTITY_TOKEN_FILE", "RUN_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    with wandb_server.run_server() as recorded:
        monkeypatch.setenv("WANDB_BASE_URL", recorded.address)
        wandb.teardown()
        yield recorded
        wandb.teardown()


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A run on each of two data sets: a report of more would say no more about the views."""
    for dataset in ("cells", "skin"):
        write(tmp_path / "runs", "baseline", dataset=dataset)
    return tmp_path / "runs"


def panels(specification: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for part in specification["section"]["panelBankConfig"]["sections"] for panel in part["panels"]]


def test_every_view_is_read_back_unchanged() -> None:
    found = [
        workspaces.to_specification(workspace) for workspace in workspaces.build_workspaces("lab", "cells", ["skin"])
    ]
    assert [view.title for view in build_views()] == TITLES
    assert [len(panels(one)) for one in found] == [sum(map(len, view.sections.values())) for view in build_views()]
    again = [
        workspaces.to_specification(workspace) for workspace in workspaces.build_workspaces("lab", "cells", ["skin"])
    ]
    assert again == found
    names = [panel["__id__"] for one in found for panel in panels(one)]
    assert len(set(names)) == len(names)


def test_means_are_of_one_method() -> None:
    """The untrained controls have ``init.augmentation`` as well, so this key cannot tell them from pretrained ones."""
    grouped = [panel for view in build_views() for part in view.sections.values() for panel in part]
    keys = {panel.groupby.name for panel in grouped if getattr(panel, "groupby", None) is not None}
    assert keys == {"method"}


def test_changed_view_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = workspaces.build_workspaces("lab", "cells")[0]
    monkeypatch.setattr(type(workspace), "_from_model", lambda model: workspaces.build_workspaces("lab", "cells")[1])
    with pytest.raises(ValueError, match="label efficiency changes when"):
        workspaces.to_specification(workspace)


def test_view_selects_its_stages_and_data_sets() -> None:
    for view, one, narrow in zip(
        build_views(),
        workspaces.build_workspaces("lab", "c"),
        workspaces.build_workspaces("lab", "c", ["skin", "cells"]),
        strict=True,
    ):
        (stages,) = workspaces.to_specification(one)["section"]["runSets"][0]["filters"]["filters"]
        assert stages["key"] == {"section": "run", "name": "jobType"}
        assert (stages["op"], stages["value"]) == ("IN", list(view.stages))
        again, groups = workspaces.to_specification(narrow)["section"]["runSets"][0]["filters"]["filters"]
        assert again == stages
        assert (groups["key"]["name"], groups["connector"]) == ("group", "AND")
        assert set(groups["value"]) == {f"{stage}-{name}" for stage in view.stages for name in ("skin", "cells")}
        assert narrow.name == f"simclr-med: cells, skin: {view.title}"
        assert narrow._internal_name != one._internal_name


def test_saving_again_updates_the_same_view(
    server: wandb_server.RecordedRequests,
) -> None:
    assert workspaces.fetch_default_entity() == "lab"
    views = workspaces.build_workspaces("lab", "cells")
    addresses = [workspaces.save_workspace(workspace) for workspace in views]
    assert [address.partition("?")[0] for address in addresses] == 5 * [f"{server.address}/lab/cells"]
    assert len(set(addresses)) == 5
    for workspace, saved in zip(views, server.saved, strict=True):
        assert json.loads(saved["spec"]) == workspaces.to_specification(workspace)
        assert (saved["entityName"], saved["projectName"], saved["type"]) == ("lab", "cells", "project-view")
        assert saved["displayName"] == workspace.name
        assert "id" not in saved
    assert [
        workspaces.save_workspace(workspace) for workspace in workspaces.build_workspaces("lab", "cells")
    ] == addresses
    assert [saved["id"] for saved in server.saved[5:]] == [f"id-of-{saved['name']}" for saved in server.saved[:5]]
    assert len(server.views) == 5


def test_refused_view_is_one_line(server: wandb_server.RecordedRequests) -> None:
    server.refusal = "permission denied\nfor you"
    with pytest.raises(RunError, match=r"^lab/cells refused the view .*permission denied for you") as caught:
        workspaces.save_workspace(workspaces.build_workspaces("lab", "cells")[0])
    assert "\n" not in str(caught.value)


def test_specifications_have_the_addresses_of_saved_views(tmp_path: Path) -> None:
    views = workspaces.build_workspaces("", "cells")
    workspaces.write_specifications(tmp_path / "dashboard.json", views, ["http://there"])
    content = json.loads((tmp_path / "dashboard.json").read_text())
    assert (content["entity"], content["project"]) == (None, "cells")
    assert [view["url"] for view in content["views"]] == ["http://there", None, None, None, None]
    assert [view["specification"] for view in content["views"]] == [
        workspaces.to_specification(workspace) for workspace in views
    ]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"WANDB_MODE": "offline"}, "WANDB_MODE is offline"),
        ({}, "no credentials found (run wandb login)"),
        ({"WANDB_API_KEY": 40 * "a", "WANDB_BASE_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
    ],
)
def test_offline_writes_the_specification_and_prints_the_reason(
    few: Path, run_report: Callable[..., str], environment: dict[str, str], reason: str, tmp_path: Path
) -> None:
    out = run_report(few, environment, "stage.datasets=[cells]", f"stage.out={tmp_path / 'out'}")
    path = tmp_path / "out" / "dashboard.json"
    (line,) = [line for line in out.splitlines() if line.startswith("Dashboard: ")]
    assert line.startswith(f"Dashboard: not saved: {reason}")
    assert line.endswith(f". Repeat the command when online. Specification: {path}")
    assert out.splitlines()[-1] == f"Report:   {tmp_path / 'out' / 'report.html'}"
    content = json.loads(path.read_text())
    assert content["project"] == "ours"
    assert [view["title"] for view in content["views"]] == [f"simclr-med: cells: {title}" for title in TITLES]


def test_command_saves_the_views_and_a_refusal_keeps_the_report(
    server: wandb_server.RecordedRequests, few: Path, run_report: Callable[..., str], tmp_path: Path
) -> None:
    where = {"WANDB_API_KEY": 40 * "a", "WANDB_BASE_URL": server.address}
    overrides = ("stage.datasets=[]", f"stage.out={tmp_path / 'out'}")
    lines = [line for line in run_report(few, where, *overrides).splitlines() if line.startswith("Dashboard: ")]
    content = json.loads((tmp_path / "out" / "dashboard.json").read_text())
    assert lines == [f"Dashboard: {view['url']}" for view in content["views"]]
    assert content["entity"] == "lab"
    assert [json.loads(saved["spec"]) for saved in server.saved] == [view["specification"] for view in content["views"]]
    assert {saved["projectName"] for saved in server.saved} == {"ours"}
    run_report(few, {**where, "WANDB_ENTITY": "others"}, *overrides)
    assert {saved["entityName"] for saved in server.saved[5:]} == {"others"}
    server.refusal = "no"
    out = run_report(few, where, *overrides)
    (line,) = [line for line in out.splitlines() if line.startswith("Dashboard: ")]
    assert "lab/ours refused the view" in line
    assert out.splitlines()[-1].startswith("Report: ")
    content = json.loads((tmp_path / "out" / "dashboard.json").read_text())
    assert {view["url"] for view in content["views"]} == {None}


def test_missing_package_is_reported_first(
    few: Path, run_report: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("simclr_med.tracking.dashboard.find_spec", lambda name: None)
    with pytest.raises(
        RunError, match=r"^stage.dashboard=true: .* is not installed. Run pip install 'simclr-med\[dashboard\]'"
    ):
        run_report(few, {"WANDB_MODE": "offline"}, "stage.datasets=[]", f"stage.out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def run_report(
    composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """Run the stage as the command does, with only these environment variables of wandb."""
    from simclr_med import build
    from simclr_med.config.validate import validate_config
    from simclr_med.runs.identity import Init
    from simclr_med.runs.run import Run

    def run(runs: Path, environment: dict[str, str], *overrides: str) -> str:
        for name in ("MODE", "API_KEY", "BASE_URL", "ENTITY", "IDENTITY_TOKEN_FILE"):
            monkeypatch.delenv(f"WANDB_{name}", raising=False)
        for name, value in {**environment, "WANDB_PROJECT": "ours", "NETRC": str(tmp_path / "netrc")}.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        cfg = validate_config(composed("stage=report", f"paths.runs={runs}", "stage.dashboard=true", *overrides))
        build.import_stage(cfg)(Run(tmp_path / "report", "0", "new", cfg, "", Init("random", "")), None)
        return capsys.readouterr().out

    return run
