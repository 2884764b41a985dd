"""The check of an exported encoder for memorised training images, as a sentence of the model card."""

from __future__ import annotations

import numpy as np

from simclr_med.augment.sequence import to_float
from simclr_med.data.source import Source
from simclr_med.errors import DataError
from simclr_med.evaluation.memorization import LabelledGroup, Memorization, measure_memorization
from simclr_med.models.encoders import Encoder
from simclr_med.runs.config_files import read_config
from simclr_med.runs.fields import Fields
from simclr_med.safe_files import read_json
from simclr_med.stages.saved_run import SavedRun
from simclr_med.types import MULTI_LABEL, Split

MOST = 2000  # images of a split that are used, evenly spaced
NEIGHBOURS = (20, 0.07)  # as in the monitor of stage=pretrain; the splits of a medical set are small
_TRAINED_HERE = ("pretrain", "finetune", "baseline")
_BUDGET = ("samples", "percent", "per_class")


def describe_memorization(saved: SavedRun, encoder: Encoder, source: Source, data_hash: str) -> str:
    """Return what a check for memorised training images found, or why it cannot be computed.

    Args:
        saved: the run that saved the encoder.
        encoder: as it is exported.
        source: the data set of the export's command.
        data_hash: its content hash.
    """
    try:
        reason = _find_obstacle(saved, source, data_hash)
        if reason is None:
            bank, trained, held_out = _select(source, "val"), _select(source, "train"), _select(source, "test")
            found = measure_memorization(encoder, bank, trained, held_out, to_float, NEIGHBOURS, saved.seed)
            return _describe(found)
    except (DataError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
    return f"Weights can memorise training images. The check for this cannot be computed, because {reason}."


def _find_obstacle(saved: SavedRun, source: Source, data_hash: str) -> str | None:
    """Return why there is nothing to compare, or None."""
    result = Fields.from_record(read_json(saved.folder / "result.json"))
    fraction = read_config(saved.config)["data_fraction"]
    if saved.stage not in _TRAINED_HERE:
        return f"it needs a pretrain, finetune or baseline run, found {saved.stage} (export the run of the encoder)"
    if result.fields("provenance").text("data_hash") != data_hash:
        return "the images are not those of the run (repeat the export with the dataset keys of that run)"
    if any(fraction.get(key) is not None for key in _BUDGET):
        return "the encoder was trained on a part of the training split"
    if source.task is None or set(source.labelled_splits()) != {"train", "val", "test"}:
        return "training, validation and test images with labels are needed"
    if source.task == MULTI_LABEL:
        return "it is not defined for images with several labels"
    return None


def _select(source: Source, split: Split) -> LabelledGroup:
    images = source.split(split)
    assert images.labels is not None, "every split has labels"
    chosen = np.linspace(0, len(images) - 1, min(MOST, len(images))).round().astype(int)
    return LabelledGroup(np.ascontiguousarray(images.images[chosen]), images.labels[chosen, 0])


def _describe(found: Memorization) -> str:
    points = 100 * (found.trained - found.held_out)
    if found.low > 0:
        verdict = "This is a sign of memorisation: share the weights only with those who may see the training images."
    elif found.high < 0:
        verdict = "Test images are easier to classify here, so the comparison cannot show memorisation."
    else:
        verdict = "This check found no memorisation. It cannot prove that there is none."
    return (
        f"Memorisation of training images (after Meehan et al., arXiv 2304.13850): from a corner of an image, the "
        f"nearest validation images predict its class. They are correct for {100 * found.trained:.1f} % of "
        f"{found.images[0]:,} training and {100 * found.held_out:.1f} % of {found.images[1]:,} test images (mean over "
        f"classes). The difference is "
        f"{points:+.1f} points (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}, bootstrap over "
        f"images). {verdict}"
    )
