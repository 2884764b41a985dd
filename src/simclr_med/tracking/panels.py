"""What the dashboard at Weights & Biases shows: panels over the names that the runs log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

RUNS = 500  # drawn in a panel, at most; W&B's own 10 would leave out most of a grid
SCORES = {"test/auroc": "AUROC", "test/accuracy": "accuracy"}
# Runs of one curve: config key `method` of every run, one data set, stage, start and encoder, any budget and seed.
METHOD = wr.Config("method")


@dataclass(frozen=True)
class View:
    """A saved view.

    Attributes:
        title: of the view, after the project's name.
        stages: whose runs it shows.
        sections: of panels, by their title.
        columns: of the list of runs that are pinned.
    """

    title: str
    stages: tuple[str, ...]
    sections: dict[str, list[Any]]
    columns: tuple[str, ...] = ()


def views() -> list[View]:
    """What there is to see, in the order of a study."""
    scored = tuple(f"summary:{name}" for name in ("train/images", *SCORES))
    epochs = {"x": "epoch", **_means(METHOD)}
    return [
        View(
            "label efficiency",
            ("probe", "finetune", "baseline"),
            {"Label efficiency": [*_curves(), *_clouds()], "Predictions on test": _predictions()},
            scored,
        ),
        View(
            "augmentation ablation",
            ("probe",),
            {"Scores by the augmentation of the pretraining": [*_bars(), *_curves()]},
            scored,
        ),
        View(
            "pretraining",
            ("pretrain",),
            {
                "Monitors": [
                    wr.LinePlot(title="contrastive loss", y=["train/loss", "val/loss"], **epochs),
                    wr.LinePlot(title="contrastive accuracy", y=["train/top1", "train/top5"], **epochs),
                    wr.LinePlot(title="kNN accuracy on validation", y=["val/knn_accuracy"], **epochs),
                    wr.LinePlot(title="effective rank of the features", y=["train/effective_rank"], **epochs),
                    wr.LinePlot(title="uniformity", y=["train/uniformity"], **epochs),
                    wr.LinePlot(title="alignment of the views", y=["train/alignment"], **epochs),
                    wr.LinePlot(title="spread of the features", y=["train/feature_std"], **epochs),
                    *_mechanics(epochs),
                ],
                "Pictures": _pictures("training", "views"),
            },
            ("summary:train/loss", "summary:train/effective_rank", "summary:val/knn_accuracy"),
        ),
        View(
            "supervised training",
            ("finetune", "baseline"),
            {
                "Training": [
                    wr.LinePlot(title="cross-entropy", y=["train/loss", "val/loss"], **epochs),
                    wr.LinePlot(title="AUROC on validation", y=["val/auroc"], **epochs),
                    wr.LinePlot(title="accuracy on validation", y=["val/accuracy"], **epochs),
                    wr.LinePlot(title="balanced accuracy on validation", y=["val/balanced_accuracy"], **epochs),
                    *_mechanics(epochs),
                ],
                "Pictures": _pictures("training"),
                "Predictions on test": _predictions(),
            },
            scored,
        ),
        View(
            "pictures",
            ("analyse", "preview", "test", "predict"),
            {
                "Features": _pictures("pca", "tsne", "umap", "neighbours", "gradcam"),
                "Before training": _pictures("sequences", "counts"),
                "Predictions": _predictions(),
            },
        ),
    ]


def _curves() -> list[Any]:
    """Score over labelled images, a line a method: mean over seeds and its standard error."""
    how: dict[str, Any] = {"x": "train/images", "log_x": True, "title_x": "labelled training images", **_means(METHOD)}
    return [wr.LinePlot(title=f"test {word} by labels", y=[name], **how) for name, word in SCORES.items()]


def _clouds() -> list[Any]:
    """The same, a point a run."""
    x = wr.SummaryMetric("train/images")
    return [
        wr.ScatterPlot(title=f"test {word} of each run", x=x, y=wr.SummaryMetric(name), log_x=True)
        for name, word in SCORES.items()
    ]


def _bars() -> list[Any]:
    """Means over budgets and seeds; the bar without a name is the untrained control, which had no pretraining."""
    keys = {"augmentation": wr.Config("init.augmentation"), "augmentation, data set and encoder": METHOD}
    return [
        wr.BarPlot(title=f"test {word} by {told}", metrics=[name], **_means(key))
        for told, key in keys.items()
        for name, word in SCORES.items()
    ]


def _means(key: Any) -> dict[str, Any]:
    """Runs that share a config key are one line or bar: their mean and its standard error."""
    how = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stderr", "max_runs_to_show": RUNS}
    return {"groupby": key, **how}


def _mechanics(epochs: dict[str, Any]) -> list[Any]:
    names = {"gradient norm": "train/gradient_norm", "learning rate": "train/learning_rate"}
    names["images/s"] = "train/images_per_s"
    return [wr.LinePlot(title=word, y=[name], **epochs) for word, name in names.items()]


def _pictures(*names: str) -> list[Any]:
    return [wr.MediaBrowser(title=name, media_keys=[f"figures/{name}"], num_columns=2) for name in names]


def _predictions() -> list[Any]:
    """The table, and true classes against answers as wandb draws them itself."""
    fields = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    query = {"summaryTable": {"tableKey": "confusion_matrix_table"}}
    matrix = wr.CustomChart(
        query=query,
        chart_name="wandb/confusion_matrix/v1",
        chart_fields=fields,
        chart_strings={"title": "Answers by true class"},
    )
    return [wr.WeavePanelSummaryTable(table_name="predictions"), matrix]
