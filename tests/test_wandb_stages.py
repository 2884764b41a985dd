"""Every stage logs to Weights & Biases under stable names, with its media; the dashboard shows names that they log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import forked_commands
import pytest
import wandb_log
import yaml
from PIL import Image

from simclr_med.tracking import workspaces
from simclr_med.training import classifier, simclr

pytestmark = pytest.mark.process
TRAIN = ("stage.epochs=2", "stage.batch_size=16")
TUNE = (*TRAIN, "stage.min_steps=0", "schedule.warmup_epochs=0", "stage.resamples=0")
SCORES = {"test/accuracy", "test/auroc", "test/balanced_accuracy", "test/macro_f1", "test/nll"}
# Of each stage: the words of its command, the metrics that it must log, its pictures, and the table's columns.
STAGES: dict[str, tuple[tuple[str, ...], set[str], set[str], tuple[str, ...]]] = {
    "pretrain": (TRAIN, {"epoch", *simclr.METRICS}, {"training", "views"}, ()),
    "probe": (
        ("stage.resamples=0", "data_fraction.samples=20"),
        {"budget/labels", "train/images", "val/images", *SCORES},
        set(),
        ("row", "true", "predicted", "right", "confidence"),
    ),
    "finetune": (
        TUNE,
        {"budget/labels", "train/images", "val/images", "epoch", *SCORES, *classifier.METRICS},
        {"training"},
        ("image", "row", "true", "predicted", "right", "confidence"),
    ),
    "baseline": (
        TUNE,
        {"budget/labels", "train/images", "val/images", "epoch", *SCORES, *classifier.METRICS},
        {"training"},
        ("image", "row", "true", "predicted", "right", "confidence"),
    ),
    "distill": (
        (*TRAIN, "schedule.warmup_epochs=0", "stage.resamples=0", "stage.teacher={finetune}"),
        {"budget/labels", "train/images", "val/images", "epoch", *SCORES, *classifier.METRICS},
        {"training"},
        ("image", "row", "true", "predicted", "right", "confidence"),
    ),
    "test": (
        ("stage.run={finetune}", "stage.resamples=0"),
        SCORES,
        set(),
        ("image", "row", "true", "predicted", "right", "confidence"),
    ),
    "predict": (
        ("stage.run={finetune}",),
        {"predicted/0", "predicted/1", "predicted/2"},
        set(),
        ("row", "file", "predicted", "confidence"),
    ),
    "analyse": (
        ("init=model", "stage.run={finetune}", "stage.points=40"),
        {"test/effective_rank", "test/knn_accuracy", "train/silhouette"},
        {"pca", "tsne", "neighbours"}
        | {name for name, package in (("umap", "umap"), ("gradcam", "captum")) if find_spec(package)},
        (),
    ),
    "preview": ((), {"train/images", "val/images", "test/images"}, {"originals", "sequences", "counts"}, ()),
}
OPTIONAL = {"figures/umap": "umap", "figures/gradcam": "captum"}


@pytest.fixture(scope="module")
def folders(shared_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of one run of each stage, made by the real command, offline, by nobody."""
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1"}
    runs, found = tmp_path_factory.mktemp("all") / "runs", {}
    for stage, (words, *_) in STAGES.items():
        line = [f"stage={stage}", "dataset=npz", f"dataset.path={shared_cells}"]
        line += ["encoder=tiny", "trainer=cpu", "trainer.threads=1", "logger=wandb", f"paths.runs={runs}"]
        line += [word.format(**found) for word in words]
        done = forked_commands.run(line, environment=environment)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", stage
        (found[stage],) = runs.glob(f"{stage}/*/*")
    assert [path for path in home.rglob("*") if "wandb" in str(path)] == [], "all of it lies in the runs"
    return found


@pytest.fixture(scope="module")
def logs(folders: dict[str, Path]) -> dict[str, wandb_log.Logged]:
    return {stage: wandb_log.read(next(folder.glob("wandb/*run-*/*.wandb"))) for stage, folder in folders.items()}


def keys(log: wandb_log.Logged) -> set[str]:
    """What the history has values of; of media the key that they were logged under."""
    return {name.rpartition(".")[0] if name.endswith("._type") else name for row in log.history for name in row}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_reads_back_with_its_names_scores_and_media(
    folders: dict[str, Path], logs: dict[str, wandb_log.Logged], stage: str
) -> None:
    folder, log = folders[stage], logs[stage]
    _, metrics, pictures, columns = STAGES[stage]
    assert (log.run.project, log.run.run_group, log.run.job_type) == ("simclr-med", f"{stage}-cells", stage)
    assert log.run.display_name == f"{stage}-cells-{folder.name[-10:]}"
    assert log.exit_code == 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert {name: log.config[name] for name in config} == config
    assert log.config["config_hash"][:10] == folder.name[-10:]
    assert log.config["method"].startswith(f"cells, {stage}, ")
    assert metrics <= keys(log)
    recorded = json.loads((folder / "result.json").read_text())["metrics"]
    final = {name: value for name, value in recorded.items() if name.startswith("test/")}
    assert {name: log.summary[name] for name in final} == pytest.approx(final)
    # Exactly these media, each with its file.
    figures = {name.removesuffix("._type") for name in log.summary if name.endswith("._type") and "/" in name}
    assert figures == {f"figures/{name}" for name in pictures}
    tables = {"predictions"} if columns else set()
    tables |= {"confusion_matrix_table"} if "true" in columns else set()
    assert {name.rpartition(".")[0] for name in log.summary if name.endswith("ncols")} == tables
    (files,) = folder.glob("wandb/*run-*/files")
    assert set(log.uploads) == {f"run-{log.run.run_id}-{name}" for name in tables}
    for path in (one for paths in log.uploads.values() for one in paths):
        assert path.is_file()
        assert folder in path.parents, "wandb sync finds it as long as the run is there"
    for name in figures:
        Image.open(files / log.summary[f"{name}.path"]).verify()
    if columns:
        table = json.loads((files / log.summary["predictions.path"]).read_text())
        assert tuple(table["columns"]) == (*columns, *(f"probability/{k}" for k in range(3)))
        assert len(table["data"]) == (68 if stage == "predict" else 12)
        assert sum(path.stat().st_size for path in folder.glob("wandb/**/*") if path.is_file()) < 2**20


def test_what_is_right_in_the_table_is_the_accuracy(
    folders: dict[str, Path], logs: dict[str, wandb_log.Logged]
) -> None:
    for stage in ("probe", "finetune", "baseline", "test"):
        log, (files,) = logs[stage], folders[stage].glob("wandb/*run-*/files")
        table = json.loads((files / log.summary["predictions.path"]).read_text())
        right = [row[table["columns"].index("right")] for row in table["data"]]
        assert sum(right) / len(right) == pytest.approx(log.summary["test/accuracy"])
        counts = json.loads((files / log.summary["confusion_matrix_table.path"]).read_text())["data"]
        assert sum(number for true, found, number in counts if true == found) == sum(right)


@pytest.mark.parametrize("number", range(5))
def test_every_name_of_the_dashboard_is_logged_by_the_runs_that_it_shows(
    logs: dict[str, wandb_log.Logged], number: int
) -> None:
    specification = workspaces.to_specification(workspaces.build_workspaces("lab", "simclr-med", ["cells"])[number])
    jobs, groups = specification["section"]["runSets"][0]["filters"]["filters"]
    shown = [log for log in logs.values() if log.run.job_type in jobs["value"]]
    assert {log.run.job_type for log in shown} == set(jobs["value"])
    assert {log.run.run_group for log in shown} == set(groups["value"])
    logged = set().union(*map(keys, shown))
    summarised = {name.rpartition(".")[0] if name.endswith("._type") else name for log in shown for name in log.summary}
    asked = list(names(specification))
    assert len(asked) > 5
    for kind, name in asked:
        if kind == "config":
            assert any(has(log.config, name) for log in shown), name
        elif kind == "history":
            assert name in logged, name
        elif name not in OPTIONAL or find_spec(OPTIONAL[name]):
            assert name in summarised, name


def has(config: dict[str, Any], path: str) -> bool:
    """Whether a config as the server keeps it, each top key over a "value", has a path: init.value.augmentation."""
    node: Any = {name: {"value": value} for name, value in config.items()}
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return node is not None


def names(specification: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(where it must be logged, name) of everything that a view's panels and columns ask for."""
    for part in specification["section"]["panelBankConfig"]["sections"]:
        for panel in part["panels"]:
            config, count = panel["config"], 0
            for found in (*of_plots(config), *of_media(panel["viewType"], config)):
                yield found
                count += 1
            assert count, f"{panel['viewType']} asks for nothing that is known here"
    for column in specification["section"]["runSets"][0]["runFeed"]["columnPinned"]:
        where, _, name = column.partition(":")
        assert where in ("run", "summary")
        if where == "summary":
            yield "summary", name


def of_plots(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for axis in ("xAxis", "yAxis"):
        if axis in config:
            where, _, name = config[axis].rpartition(":")
            yield where or "history", name
    yield from (("history", name) for name in config.get("metrics", ()))
    if "groupBy" in config:
        yield "config", config["groupBy"]


def of_media(kind: str, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from (("summary", name) for name in config.get("mediaKeys", ()))
    if kind == "Weave":
        (key,) = places(config, "key")
        yield "summary", key["val"]
    if kind == "Vega2":
        (arguments,) = [field["args"] for field in places(config, "fields") if field.get("name") == "summaryTable"]
        yield "summary", arguments[0]["value"]


def places(node: Any, key: str) -> Iterator[Any]:
    """What stands under a key anywhere in a tree; of lists their items."""
    if isinstance(node, list):
        for item in node:
            yield from places(item, key)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield from value if isinstance(value, list) else [value]
            yield from places(value, key)
