"""Stage export: the network of a finished run in the files of other programs, with a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from simclr_med.atomic import write_bytes
from simclr_med.config import stage_nodes
from simclr_med.config.schema import Config
from simclr_med.data.source import Source
from simclr_med.errors import ConfigError
from simclr_med.models.encoders import Encoder
from simclr_med.models.exports import WRITERS, Exported
from simclr_med.models.head_files import load_head
from simclr_med.models.normalization import RGB
from simclr_med.runs.config_files import read_config
from simclr_med.runs.file_hashes import verify_files
from simclr_med.runs.hub import push_folder
from simclr_med.runs.run import Run
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.memorization import describe_memorization
from simclr_med.stages.model_card import model_card
from simclr_med.stages.saved_model import load_plain_encoder
from simclr_med.types import MULTI_LABEL


def export(run: Run[Config[stage_nodes.Export]], source: Source) -> None:
    """Write the chosen formats and README.md into the run's folder, after a check of each format's outputs.

    If the command's data set is that of the exported run, the model card says whether its images were memorised.
    """
    stage, folder = run.cfg.stage, run.init.run
    assert folder is not None, "init=saved always names a run"
    with open_stage(run, uses_device=False) as frame:
        saved, encoder = load_plain_encoder(folder, [Path(own) for own in run.cfg.paths.own], run.cfg.allow_code)
        if encoder.mean.shape[1] != RGB:
            raise ConfigError(
                f"stage.run={folder}: its encoder takes images of {encoder.mean.shape[1]} channels, and exports are "
                "made for grey and RGB images. Use its encoder.safetensors."
            )
        exported = _with_head(encoder.eval(), folder, _image_size(stage.size, encoder, saved.config))
        frame.start_loggers()
        files = {name: WRITERS[name](exported, run.folder) for name in stage.format}
        privacy = describe_memorization(saved, encoder, source, run.data_hash)
        card = model_card(saved, exported, stage.format, stage.license, privacy).encode()
        readme = run.folder / "README.md"
        write_bytes(readme, card)
        if "timm" in files:
            write_bytes(files["timm"] / "README.md", card)
        rows = {name: f"{path.name}: outputs checked on {exported.size} px" for name, path in files.items()}
        if stage.push_to_hub is not None:
            rows["hub"] = push_folder(files["timm"], stage.push_to_hub)
        frame.finish(
            Outcome(
                title=f"Export of {saved.stage} on {saved.dataset}",
                rows={**rows, "returns": exported.output, "privacy": privacy},
                metrics={},
                facts={"model": {"stage": saved.stage, "dataset": saved.dataset}},
                tables_written=[readme],
            )
        )


def _with_head(encoder: Encoder, folder: Path, size: int) -> Exported:
    """Return the encoder with the classifier beside it, if there is one."""
    path = folder / "head.safetensors"
    if not path.is_file():
        return Exported(encoder, None, (), nn.Identity(), size)
    verify_files(folder, path.name)
    head = load_head(path)
    activation: nn.Module = nn.Sigmoid() if head.task == MULTI_LABEL else nn.Softmax(dim=1)
    return Exported(encoder, head.module.float().eval(), head.classes, activation, size)


def _image_size(chosen: int | None, encoder: Encoder, config: Path) -> int:
    """Return the pixels of a side: the chosen ones, those that the encoder resizes to, or those of the run's images."""
    data: Mapping[str, Any] = read_config(config)["dataset"]
    own = getattr(encoder, "size", None)
    if None not in (chosen, own) and chosen != own:
        raise ConfigError(f"stage.size={chosen}: the encoder takes images of {own} pixels. Leave stage.size out.")
    size = chosen or own or data.get("size")
    if type(size) is not int:
        raise ConfigError("stage.size=null: this run did not record the size of its images. Add stage.size=<pixels>.")
    return size
