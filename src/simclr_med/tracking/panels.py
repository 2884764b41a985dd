"""The saved views at Weights & Biases: panels over the metrics that the runs log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

MAX_RUNS = 500  # drawn in a panel; W&B's default of 10 leaves out most runs of a grid
SCORES = {"test/auroc": "AUROC", "test/accuracy": "accuracy"}
# The config key `method` groups the runs of one curve: same data set, stage, initial weights and encoder.
METHOD = wr.Config("method")


@dataclass(frozen=True)
class View:
    """A saved view.

    Attributes:
        title: of the view, after the project's name.
        stages: the view shows the runs of these stages.
        sections: panels of each section by its title.
        columns: pinned columns of the list of runs.
    """

    title: str
    stages: tuple[str, ...]
    sections: dict[str, list[Any]]
    columns: tuple[str, ...] = ()


def build_views() -> list[View]:
    """Return the views in the order of a study."""
    scored = tuple(f"summary:{name}" for name in ("budget/labels", *SCORES))
    epochs = {"x": "epoch", **_means(METHOD)}
    return [
        View(
            "label efficiency",
            ("probe", "finetune", "baseline", "distill"),
            {"Label efficiency": [*_curves(), *_points()], "Test predictions": _predictions()},
            scored,
        ),
        View(
            "augmentation ablation",
            ("probe",),
            {"Scores of each method": [*_bars(), *_curves()]},
            scored,
        ),
        View(
            "pretraining",
            ("pretrain",),
            {
                "Monitors": [
                    wr.LinePlot(title="contrastive loss", y=["train/loss", "val/loss"], **epochs),
                    wr.LinePlot(title="contrastive accuracy", y=["train/top1", "train/top5"], **epochs),
                    wr.LinePlot(title="validation kNN accuracy", y=["val/knn_accuracy"], **epochs),
                    wr.LinePlot(title="validation probe AUROC", y=["val/probe_auroc"], **epochs),
                    wr.LinePlot(title="effective rank of the features", y=["train/effective_rank"], **epochs),
                    wr.LinePlot(title="uniformity", y=["train/uniformity"], **epochs),
                    wr.LinePlot(title="alignment of the views", y=["train/alignment"], **epochs),
                    wr.LinePlot(title="standard deviation of the features", y=["train/feature_std"], **epochs),
                    *_optimisation(epochs),
                ],
                "Figures": _pictures("training", "views"),
            },
            ("summary:train/loss", "summary:train/effective_rank", "summary:val/knn_accuracy"),
        ),
        View(
            "supervised training",
            ("finetune", "baseline", "distill"),
            {
                "Training": [
                    wr.LinePlot(title="cross-entropy", y=["train/loss", "val/loss"], **epochs),
                    wr.LinePlot(title="validation AUROC", y=["val/auroc"], **epochs),
                    wr.LinePlot(title="validation accuracy", y=["val/accuracy"], **epochs),
                    wr.LinePlot(title="validation balanced accuracy", y=["val/balanced_accuracy"], **epochs),
                    *_optimisation(epochs),
                ],
                "Figures": _pictures("training"),
                "Test predictions": _predictions(),
            },
            scored,
        ),
        View(
            "figures",
            ("analyse", "preview", "test", "predict"),
            {
                "Features": _pictures("pca", "tsne", "umap", "neighbours", "gradcam"),
                "Before training": _pictures("originals", "sequences", "counts"),
                "Predictions": _predictions(),
            },
        ),
    ]


def _curves() -> list[Any]:
    """Return plots of the score over the labelled images: mean over seeds and standard error, a line per method."""
    options: dict[str, Any] = {
        "x": "budget/labels",
        "log_x": True,
        "title_x": "labels used, for training and for choices",
        **_means(METHOD),
    }
    return [wr.LinePlot(title=f"test {title} by label budget", y=[name], **options) for name, title in SCORES.items()]


def _points() -> list[Any]:
    """Return plots of the score over the labelled images with a point per run."""
    x = wr.SummaryMetric("budget/labels")
    return [
        wr.ScatterPlot(title=f"test {title} of each run", x=x, y=wr.SummaryMetric(name), log_x=True)
        for name, title in SCORES.items()
    ]


def _bars() -> list[Any]:
    """Return bars of the means over budgets and seeds; those of the untrained controls are named ``..., random, ...``.

    The key ``init.augmentation`` would not do: a random init has it too, and an encoder named by ``init.run`` does not.
    """
    return [
        wr.BarPlot(title=f"test {title} by method", metrics=[name], **_means(METHOD)) for name, title in SCORES.items()
    ]


def _means(key: Any) -> dict[str, Any]:
    """Return the options that draw the runs with the same config value as one mean with its standard error."""
    return {
        "groupby": key,
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "stderr",
        "max_runs_to_show": MAX_RUNS,
    }


def _optimisation(epochs: dict[str, Any]) -> list[Any]:
    names = {"gradient norm": "train/gradient_norm", "learning rate": "train/learning_rate"}
    names["images/s"] = "train/images_per_s"
    return [wr.LinePlot(title=title, y=[name], **epochs) for title, name in names.items()]


def _pictures(*names: str) -> list[Any]:
    return [wr.MediaBrowser(title=name, media_keys=[f"figures/{name}"], num_columns=2) for name in names]


def _predictions() -> list[Any]:
    """Return the table of predictions and wandb's own chart of the confusion matrix."""
    fields = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    query = {"summaryTable": {"tableKey": "confusion_matrix_table"}}
    matrix = wr.CustomChart(
        query=query,
        chart_name="wandb/confusion_matrix/v1",
        chart_fields=fields,
        chart_strings={"title": "Confusion matrix"},
    )
    return [wr.WeavePanelSummaryTable(table_name="predictions"), matrix]
