"""Exported networks against the networks themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from simclr_med.errors import ConfigError
from simclr_med.models.encoders import resnet, set_option, tiny
from simclr_med.models.exports import Exported, write_onnx, write_timm, write_torch
from simclr_med.models.heads import linear_head
from simclr_med.models.timm_encoder import timm_backbone


def exported(option: dict[str, object], encoder: nn.Module, size: int, classes: int = 0) -> Exported:
    set_option(encoder, option)
    head = linear_head(encoder.width, classes) if classes else None
    return Exported(encoder.eval(), head, tuple(f"class {k}" for k in range(classes)), nn.Softmax(dim=1), size)


@pytest.fixture
def small() -> Exported:
    torch.manual_seed(0)
    return exported({"name": "tiny"}, tiny(), 28, classes=3)


def test_torch_has_a_dynamic_batch(small: Exported, tmp_path: Path) -> None:
    program = torch.export.load(write_torch(small, tmp_path)).module()
    images = torch.rand(7, 3, 28, 28)
    with torch.no_grad():
        wanted = small.head(small.encoder(images)).softmax(dim=1)
    torch.testing.assert_close(program(images), wanted)


@pytest.mark.filterwarnings("ignore")
def test_onnx_has_a_dynamic_batch(small: Exported, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    session = onnxruntime.InferenceSession(str(write_onnx(small, tmp_path)))
    images = torch.rand(7, 3, 28, 28)
    (found,) = session.run(["probabilities"], {"images": images.numpy()})
    with torch.no_grad():
        wanted = small.head(small.encoder(images)).softmax(dim=1)
    torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("option", [{"name": "resnet18", "stem": "stock"}, {"name": "timm", "model": "test_vit"}])
def test_the_folder_loads_in_timm(option: dict[str, object], classes: int, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    torch.manual_seed(0)
    encoder = resnet(18) if option["name"] == "resnet18" else timm_backbone("test_vit", input_size=32)
    one = exported(option, encoder, 32, classes)
    model = timm.create_model(f"local-dir:{write_timm(one, tmp_path)}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(model)
    assert (*config["mean"], *config["input_size"], config["interpolation"]) == (0.5, 0.5, 0.5, 3, 32, 32, "bilinear")
    assert list(model.pretrained_cfg.get("label_names") or ()) == list(one.classes)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        features = encoder(images)
        torch.testing.assert_close(model((images - 0.5) / 0.5), features if one.head is None else one.head(features))


def test_a_network_that_timm_lacks_is_one_line(small: Exported, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^stage\.format=timm: encoder=tiny is not a network of timm\."):
        write_timm(small, tmp_path)
    half = exported({"name": "resnet18", "stem": "half"}, resnet(18, stem="half"), 28)
    with pytest.raises(ConfigError, match="not a network of timm"):
        write_timm(half, tmp_path)


def test_other_outputs_are_refused(small: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = SimpleNamespace(module=lambda: lambda images: small.network()(images) + 2e-4)
    monkeypatch.setattr(torch.export, "load", lambda file: wrong)
    with pytest.raises(
        ConfigError, match=r"stage\.format=torch: the outputs of the exported network differ by 0\.0002"
    ):
        write_torch(small, tmp_path)
