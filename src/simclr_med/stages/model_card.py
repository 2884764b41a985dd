"""The model card of an exported network (Mitchell et al., arXiv 1810.03993), as README.md with the hub's header."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simclr_med.errors import CheckpointError
from simclr_med.models.exports import Exported
from simclr_med.runs.config_files import read_config
from simclr_med.runs.fields import Fields, describe_error, make_printable
from simclr_med.runs.identity import budget_name, encoder_name
from simclr_med.safe_files import read_json
from simclr_med.stages.saved_run import REPEAT, SavedRun

# Keys of a run's config that are its recipe, by group.
_RECIPE = {
    "stage": ("epochs", "batch_size", "temperature", "solver", "layer_decay", "head_epochs"),
    "optimizer": ("name", "lr", "weight_decay"),
    "schedule": ("name", "warmup_epochs"),
}

_SCORES = "On the test split; in brackets the 95 % interval over test images, where there is one.\n\n"


@dataclass(frozen=True)
class _Budget:
    samples: int | None
    percent: float | None
    per_class: int | None


def model_card(saved: SavedRun, exported: Exported, formats: Sequence[str], license: str, privacy: str) -> str:
    """Return the text of README.md.

    Args:
        saved: the run.
        exported: what is exported.
        formats: that were written.
        license: of the model.
        privacy: what is known of memorised training images, as sentences.

    Raises:
        CheckpointError: the run's records are damaged.
    """
    try:
        config = read_config(saved.config)
        result = Fields.from_record(read_json(saved.folder / "result.json"))
        scores = _scores(result)
        data_hash = result.fields("provenance").text("data_hash")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{saved.folder}: its records are unreadable ({describe_error(error)}). {REPEAT}"
        ) from error
    parts = [
        f"---\n{_header(license)}---",
        f"# {encoder_name(saved.encoder)}, {saved.stage} on {saved.dataset}",
        _purpose(exported),
        "## Data\n" + _table({"data set": saved.dataset, "content hash": data_hash, "label budget": _budget(config)}),
        "## Recipe\n" + _table(_recipe(config)),
        "## Scores\n"
        + (_SCORES + _table(scores) if scores else "This run has no test scores: it trained without labels."),
        _usage(exported, formats),
        "## Limits\n- This is research software, not a medical device. Do not use it for diagnosis.\n"
        "- The scores are those of one run on one data set. Other scanners, stains, sites or patients can give lower "
        f"ones.\n- {privacy}",
        f"## License\n{license}",
    ]
    return "\n\n".join(parts) + "\n"


def _header(license: str) -> str:
    """Return the YAML header that the Hugging Face hub reads."""
    return f"license: {json.dumps(license)}\ntags: [image-feature-extraction, medical, simclr]\n"


def _purpose(exported: Exported) -> str:
    width = exported.encoder.width
    if exported.head is None:
        return f"An encoder: RGB images of {exported.size}x{exported.size} pixels to {width} features."
    classes = ", ".join(make_printable(name) for name in exported.classes)
    return f"A classifier: RGB images of {exported.size}x{exported.size} pixels to one of these classes: {classes}."


def _usage(exported: Exported, formats: Sequence[str]) -> str:
    mean, std = ([round(x, 4) for x in getattr(exported.encoder, key).flatten().tolist()] for key in ("mean", "std"))
    lines = [
        f"## Use\nImages are float [batch, 3, {exported.size}, {exported.size}] in [0, 1]. The files for ONNX and "
        f"torch normalise them and return {exported.output}. For timm, normalise with mean {mean} and std {std}."
    ]
    code = {
        "timm": 'import timm\n\nmodel = timm.create_model("local-dir:timm", pretrained=True).eval()',
        "onnx": 'import onnxruntime\n\nsession = onnxruntime.InferenceSession("model.onnx")\n'
        f'{exported.output} = session.run(None, {{"images": images}})[0]',
        "torch": f'import torch\n\n{exported.output} = torch.export.load("model.pt2").module()(images)',
    }
    return "\n\n".join([*lines, *(f"```python\n{code[name]}\n```" for name in formats)])


def _scores(result: Fields) -> dict[str, str]:
    """Return the test scores with their 95 % intervals where the run recorded them."""
    metrics = result.fields("metrics")
    intervals: Mapping[str, Any] = result.fields("intervals").content if result.has("intervals") else {}
    scores = {}
    for key in metrics.content:
        if not key.startswith("test/") or key.startswith("test/recall/"):
            continue
        text = f"{metrics.number(key):.3f}"
        if key in intervals:
            low, high = (Fields.from_record({key: value}).number(key) for value in intervals[key])
            text += f" ({low:.3f} to {high:.3f})"
        scores[make_printable(key.removeprefix("test/")).replace("_", " ")] = text
    return scores


def _budget(config: Mapping[str, Any]) -> str:
    fraction = Fields.from_record(dict(config["data_fraction"]))
    percent = fraction.number_or_none("percent")
    return budget_name(_Budget(fraction.integer_or_none("samples"), percent, fraction.integer_or_none("per_class")))


def _recipe(config: Mapping[str, Any]) -> dict[str, str]:
    groups = {group: config.get(group) for group in _RECIPE}
    rows = {"augmentation": _text(config["augmentation"].get("name")), "initial weights": _text(config["init"]["name"])}
    unread = config["stage"].get("unread") or {}
    for group, keys in _RECIPE.items():
        node = None if group in unread else groups[group]
        values = node if isinstance(node, Mapping) else {}
        rows |= {f"{group}.{key}": _text(values[key]) for key in keys if values.get(key) is not None}
    return rows | {"seed": str(config["seed"])}


def _text(value: object) -> str:
    return make_printable(str(value))[:80]


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])
