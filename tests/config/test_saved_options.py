"""An option found by its name, and the values that a run recorded for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from simclr_med.config.folders import CONF
from simclr_med.config.options import load_option, recorded_values
from simclr_med.errors import ConfigError

OPTION = {
    "name": "net",
    "_target_": "lab.net",
    "depth": 18,
    "rate": 0.5,
    "stem": "stock",
    "zero": False,
    "mean": [0.5, 0.5, 0.5],
    "any": None,
    "size": "${dataset.size}",
    "parts": {"width": 8},
}


def test_an_option_has_the_defaults_of_its_yaml() -> None:
    content = OmegaConf.to_container(load_option((), "encoder", "resnet50"))
    assert content["_target_"] == "simclr_med.models.encoders.resnet"
    assert (content["name"], content["depth"], content["stem"]) == ("resnet50", 50, "stock")


def test_an_option_of_the_users_own_folder(tmp_path: Path) -> None:
    own = tmp_path / "it's a lab, (1)"
    (own / "encoder").mkdir(parents=True)
    (own / "encoder" / "deep.yaml").write_text("defaults: [resnet34, _self_]\nname: deep\nstem: small\n")
    (own / "encoder" / "tiny.yaml").write_text("name: tiny\n_target_: os.system\n")
    node = load_option((own,), "encoder", "deep")
    assert (node.name, node.depth, node.stem) == ("deep", 34, "small")
    assert load_option((own,), "encoder", "tiny")._target_ == "simclr_med.models.encoders.tiny", "conf/ comes first"


def test_the_hydra_that_runs_the_job_stays() -> None:
    load_option.cache_clear()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        assert load_option((), "encoder", "tiny").name == "tiny"
        assert GlobalHydra.instance().hydra is running
        with pytest.raises(ConfigError):
            load_option((), "encoder", "unknown")
        assert compose("config", ["seed=3"]).seed == 3


@pytest.mark.parametrize("name", ["resnet19", "../encoder/tiny", "tiny.yaml", "", "base/medmnist", "tiny,os=1"])
def test_an_unknown_option_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown option") as caught:
        load_option((), "encoder", name)
    assert str(caught.value).startswith(
        f"encoder={name}: unknown option. Name the folder of its YAML with --config-dir"
    )
    assert "\n" not in str(caught.value)


def test_values_of_the_options_kinds_are_returned() -> None:
    recorded = {
        **{"name": "net", "_target_": "lab.net", "depth": 34, "rate": 1, "stem": "small", "zero": True},
        **{"mean": [0, 0.25, 1.0], "any": "x", "size": 64, "parts": {"width": 8}},
    }
    expected = {key: value for key, value in recorded.items() if key not in ("name", "_target_", "parts")}
    assert recorded_values(OPTION, recorded) == expected
    assert recorded_values(OPTION, {"_target_": "simclr_med.origins.net"}) == {}, "of an earlier version; not called"


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ({"_target_": "numpy.load"}, r"_target_=numpy\.load: expected lab\.net"),
        ({"_target_": {"_target_": "x"}}, r"_target_=.*: expected lab\.net"),
        ({"_partial_": True}, "_partial_=True: unknown key"),
        ({"_args_": ["x"]}, "_args_=.*: unknown key"),
        ({"_recursive_": False}, "_recursive_=False: unknown key"),
        ({"file": "x"}, "file=x: unknown key"),
        ({"depth": "18"}, "depth=18: expected an integer"),
        ({"depth": True}, "depth=True: expected an integer"),
        ({"depth": 2**20000}, "depth=<a very large integer>: expected an integer"),
        ({"rate": float("nan")}, "rate=nan: expected a finite number"),
        ({"rate": [0.5]}, r"rate=\[…\]: expected a finite number"),
        ({"zero": 1}, "zero=1: expected true or false"),
        ({"stem": None}, "stem=None: expected text"),
        ({"mean": 0.5}, r"mean=0\.5: expected a list"),
        ({"mean": {"_target_": "os.system"}}, "mean=.*: expected a list"),
        ({"mean": [{"_target_": "os.system"}]}, "mean=.*: expected a list of a finite number"),
        ({"any": {"_target_": "os.system"}}, "any=.*: expected a number, a text, true or false"),
        ({"size": [{}]}, "size=.*: expected a number, a text, true or false"),
        ({"parts": {"width": 9}}, "parts=.*: expected the mapping of the option's own YAML"),
        ({"parts": {"width": 8, "_target_": "os.system"}}, "parts=.*: expected the mapping"),
    ],
    ids=lambda value: None if isinstance(value, str) else ",".join(value),
)
def test_anything_else_is_refused(recorded: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        recorded_values(OPTION, recorded)
