"""torchvision's ImageNet weights: from the cache with their own mean and deviation, or one line without a network."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from torchvision.models import (
    ConvNeXt_Tiny_Weights,
    DenseNet121_Weights,
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
)

from simclr_med import build
from simclr_med.config.validate import validate_config
from simclr_med.errors import CheckpointError, RunError
from simclr_med.models import imagenet
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import resnet
from simclr_med.models.imagenet import download_weights

PUBLISHED = {
    "resnet18": ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "densenet121": DenseNet121_Weights.IMAGENET1K_V1,
    "convnext_tiny": ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
}


def weights_file(folder: Path, name: str = "weights-{}.pth") -> Path:
    """A state dict whose name ends with the beginning of its SHA-256, as torchvision's do."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.save({"a": torch.randn(3)}, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    return (folder / "new.pth").rename(folder / name.format(digest[:8]))


@pytest.mark.parametrize("encoder", sorted(PUBLISHED))
def test_the_files_are_those_that_torchvision_names(composed, encoder: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    origin = build.instantiate_node(
        validate_config(composed("stage=finetune", f"encoder={encoder}", "init=imagenet")).init
    )
    assert origin.url == PUBLISHED[encoder].url
    assert origin.path == tmp_path / "hub" / "checkpoints" / Path(PUBLISHED[encoder].url).name
    assert Path(torch.hub.get_dir()) / "checkpoints" == origin.path.parent


def test_features_are_torchvisions_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    network(torch.rand(8, 3, 32, 32))  # running statistics unlike a new network's
    network.eval()
    torch.save(network.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    encoder = resnet(18).eval()
    description = load_weights(encoder, load_encoder_state(tmp_path / "resnet18-f37072fd.pth"))
    assert "resnet18" in description
    network.fc = torch.nn.Identity()
    images = torch.rand(4, 3, 64, 64)
    preset = PUBLISHED["resnet18"].transforms()
    with torch.no_grad():
        normalised = torchvision.transforms.functional.normalize(images, preset.mean, preset.std)
        torch.testing.assert_close(encoder(images), network(normalised), atol=1e-5, rtol=1e-5)


def test_an_encoder_without_such_weights_is_one_line(composed) -> None:
    with pytest.raises(RunError, match="encoder=tiny has no ImageNet weights") as caught:
        build.instantiate_node(validate_config(composed("stage=finetune", "encoder=tiny", "init=imagenet")).init)
    assert "\n" not in str(caught.value)


def test_an_existing_file_is_not_downloaded(tmp_path: Path) -> None:
    there = weights_file(tmp_path)
    before = there.read_bytes()
    download_weights("http://127.0.0.1:9/nowhere.pth", there)
    assert there.read_bytes() == before


def test_an_existing_file_with_another_hash_is_refused_and_kept(tmp_path: Path) -> None:
    there = weights_file(tmp_path, "weights-00000000.pth")
    before = there.read_bytes()
    with pytest.raises(CheckpointError, match=r"its SHA-256 begins with [0-9a-f]{8}, expected 00000000") as caught:
        download_weights("http://127.0.0.1:9/nowhere.pth", there)
    assert "\n" not in str(caught.value)
    assert there.read_bytes() == before


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Function that serves a file's folder on this machine and returns the file's address."""
    servers = []

    def start(file: Path) -> str:
        handler = partial(SimpleHTTPRequestHandler, directory=str(file.parent))
        handler.log_message = lambda *_: None
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/{file.name}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_file_is_downloaded_and_checked(serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = weights_file(tmp_path / "server")
    target = tmp_path / "new" / "cache" / origin.name
    url = serve(origin)
    download_weights(url, target)
    assert target.read_bytes() == origin.read_bytes()
    assert capsys.readouterr().out == f"Downloading {url}\n"


def refused(url: str, target: Path) -> str:
    with pytest.raises(CheckpointError, match="init=imagenet: no weights at") as caught:
        download_weights(url, target)
    (line,) = str(caught.value).splitlines()
    assert str(target) in line
    assert url in line
    assert not target.exists()
    return line


def test_a_wrong_file_is_refused(serve, tmp_path: Path) -> None:
    origin = weights_file(tmp_path / "server", "weights-00000000.pth")
    assert "hash" in refused(serve(origin), tmp_path / "cache" / origin.name)
    assert not list((tmp_path / "cache").iterdir())


def test_without_a_network_it_is_one_line(tmp_path: Path) -> None:
    refused("http://127.0.0.1:9/resnet18-f37072fd.pth", tmp_path / "resnet18-f37072fd.pth")


def test_a_folder_that_cannot_be_written_is_one_line(serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(serve(weights_file(tmp_path / "server")), tmp_path / "file" / "weights.pth")


def test_a_file_that_is_too_large_is_refused(serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = weights_file(tmp_path / "server")
    monkeypatch.setattr(imagenet, "MOST_BYTES", 100)
    assert "sends more than" in refused(serve(origin), tmp_path / "cache" / origin.name)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("url", ["http://example.org/weights.pth", "file:///etc/passwd"])
def test_an_address_without_tls_is_refused(tmp_path: Path, url: str) -> None:
    assert "has no TLS" in refused(url, tmp_path / "resnet18-f37072fd.pth")
