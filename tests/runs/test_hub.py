"""Weights of timm: found in the cache of the Hugging Face hub without a network, or one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.errors import RunError
from simclr_med.runs import init
from simclr_med.runs.hub import WEIGHTS, find_weights

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra timm is not installed")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one file of one repository, and no network."""
    repository = tmp_path / "models--timm--resnet10t.c3_in1k"
    for folder in ("refs", "snapshots/abc"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / WEIGHTS).write_bytes(b"weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository


def test_the_cached_file_is_found_and_hashed(cache: Path) -> None:
    found = init.timm("resnet10t.c3_in1k")
    assert (found.kind, found.path) == ("timm", cache / "snapshots" / "abc" / WEIGHTS)
    assert found.hash == "sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"


def test_a_missing_file_is_one_line_that_says_where_to_get_it(cache: Path) -> None:
    with pytest.raises(RunError) as caught:
        find_weights("resnet18.a1_in1k")
    (line,) = caught.value.problems
    assert "\n" not in line
    assert line.startswith(f"init=timm: model.safetensors of timm/resnet18.a1_in1k is not in {cache.parent}")
    assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors" in line
    assert "init=checkpoint init.path=" in line


@pytest.mark.parametrize(
    ("model", "message"),
    [(None, "init=timm: the encoder is not of timm"), ("resnet18", "encoder.model=resnet18: init=timm needs the tag")],
)
def test_a_model_without_weights_is_one_line(model: str | None, message: str) -> None:
    with pytest.raises(RunError, match=message):
        init.timm(model)


def test_a_missing_client_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match="huggingface_hub is not installed"):
        find_weights("resnet18.a1_in1k")
