"""A network in the files of other programs: torch.export, ONNX and timm's folders."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simclr_med.atomic import write_bytes
from simclr_med.errors import ConfigError
from simclr_med.models.encoders import Encoder, get_option

TOLERANCE = 1e-4  # largest difference of an exported network's outputs
BATCHES = (1, 3)  # sizes of the batches that are compared
# Options of conf/encoder whose state dict and function are those of a timm model.
_TIMM_NAMES = {"resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50"}


@dataclass(frozen=True)
class Exported:
    """What is exported.

    Attributes:
        encoder: in eval mode, without speed-ups.
        head: features to logits; None for an encoder alone.
        classes: names of the logits; empty for an encoder alone.
        activation: logits to probabilities.
        size: pixels of a side of the images.
    """

    encoder: Encoder
    head: nn.Module | None
    classes: tuple[str, ...]
    activation: nn.Module
    size: int

    @property
    def output(self) -> str:
        """The name of the output."""
        return "features" if self.head is None else "probabilities"

    def network(self) -> nn.Module:
        """Return the module from images in [0, 1] to features or probabilities."""
        layers: list[Any] = [self.encoder] if self.head is None else [self.encoder, self.head, self.activation]
        return nn.Sequential(*layers).eval()

    def images(self, count: int) -> Tensor:
        """Return random images, float [count, 3, size, size], always the same."""
        generator = torch.Generator().manual_seed(count)
        return torch.rand(count, 3, self.size, self.size, generator=generator)


def write_torch(exported: Exported, folder: Path) -> Path:
    """Write model.pt2, a program of torch.export with a dynamic batch, and check its outputs."""
    network = exported.network()
    path = folder / "model.pt2"
    with _one_line("torch"):
        program = torch.export.export(network, (exported.images(2),), dynamic_shapes=({0: torch.export.Dim("batch")},))
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
    write_bytes(path, buffer.getvalue())
    _compare(exported, torch.export.load(io.BytesIO(buffer.getvalue())).module(), "torch")
    return path


def write_onnx(exported: Exported, folder: Path) -> Path:
    """Write model.onnx with a dynamic batch, and compare onnxruntime's outputs with torch's.

    Raises:
        ConfigError: the extra export is not installed, or the outputs differ.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"stage.format=onnx: {package} is not installed. Run pip install 'simclr-med[export]'.")
    import onnxruntime

    buffer = io.BytesIO()
    with _one_line("onnx"):
        program = torch.onnx.export(
            exported.network(),
            (exported.images(2),),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=[exported.output],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    buffer.write(program.model_proto.SerializeToString())
    path = folder / "model.onnx"
    write_bytes(path, buffer.getvalue())
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])

    def compute(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    _compare(exported, compute, "onnx")
    return path


def write_timm(exported: Exported, folder: Path) -> Path:
    """Write the folder ``timm``, which ``timm.create_model("local-dir:<folder>", pretrained=True)`` loads.

    Its images are normalised by mean and std of config.json; a classifier returns logits there.

    Raises:
        ConfigError: timm is not installed or has no such network, or the classifier is not one linear layer.
    """
    option = get_option(exported.encoder) or {}
    name = option.get("model") or (_TIMM_NAMES.get(str(option.get("name"))) if option.get("stem") == "stock" else None)
    if name is None:
        raise ConfigError(
            f"stage.format=timm: encoder={option.get('name')} is not a network of timm. Use stage.format=[onnx,torch]."
        )
    if importlib.util.find_spec("timm") is None:
        raise ConfigError("stage.format=timm: timm is not installed. Run pip install 'simclr-med[timm]'.")
    if exported.head is not None and not isinstance(exported.head, nn.Linear):
        raise ConfigError(
            "stage.format=timm: expected a classifier of one linear layer. Use stage.format=[onnx,torch]."
        )
    import timm

    from simclr_med.models.timm_encoder import create_network

    network = create_network(str(name), exported.size, num_classes=len(exported.classes))
    state: dict[str, Tensor] = dict(exported.encoder.state_dict())
    if exported.head is not None:
        layer = network.get_classifier()  # type: ignore[operator]
        state |= {
            key: dict(exported.head.named_parameters())[key.rpartition(".")[2]]
            for key, value in network.state_dict(keep_vars=True).items()
            if any(value is own for own in layer.parameters())
        }
    network.load_state_dict(state, strict=True)
    target = folder / "timm"
    moments = {key: tuple(getattr(exported.encoder, key).flatten().tolist()) for key in ("mean", "std")}
    data: Mapping[str, Any] = {
        **moments,
        "input_size": (3, exported.size, exported.size),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
    }
    config = {"label_names": list(exported.classes)} if exported.classes else {}
    timm.models.save_for_hf(network, str(target), model_config=config, safe_serialization=True, data_config=dict(data))
    loaded = timm.create_model(f"local-dir:{target}", pretrained=True).eval()

    def compute(images: Tensor) -> Tensor:
        found: Tensor = loaded((images - exported.encoder.mean) / exported.encoder.std)
        return found if exported.head is None else exported.activation(found)

    _compare(exported, compute, "timm")
    return target


# The formats by the names that stage.format takes.
WRITERS: Mapping[str, Callable[[Exported, Path], Path]] = {"timm": write_timm, "onnx": write_onnx, "torch": write_torch}


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn the errors of an exporter, which are of many types and long, into one line; hide its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ConfigError(
            f"stage.format={name}: the network cannot be exported ({reason}). Use another format."
        ) from error


@torch.no_grad()
def _compare(exported: Exported, compute: Callable[[Tensor], Tensor], name: str) -> None:
    """Check the outputs of an exported network against the network's own, for several sizes of the batch."""
    network = exported.network()
    for count in BATCHES:
        images = exported.images(count)
        own, other = network(images), compute(images)
        difference = float((own - other).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(own.abs().max())):
            raise ConfigError(
                f"stage.format={name}: the outputs of the exported network differ by {difference:.1g}, more than "
                f"{TOLERANCE:g}. Use another format."
            )
