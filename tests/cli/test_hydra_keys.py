"""A folder of own options sets nothing for Hydra itself that could run code."""

from __future__ import annotations

from pathlib import Path

import pytest

from simclr_med.cli.hydra_keys import check_own_options
from simclr_med.errors import ConfigError

CALLBACK = "hydra: {callbacks: {x: {_target_: os.system, command: id}}}\n"
REFUSED = {
    "dataset/a.yaml": f"# @package _global_\n{CALLBACK}",
    "dataset/b.yaml": "# @package hydra.callbacks.x\n_target_: os.system\n",
    "dataset/c.yaml": "defaults: [{/encoder@hydra.callbacks.x: evil}]\n",
    "dataset/d.yaml": "defaults: ['/hydra/callbacks/evil', _self_]\n",
    "dataset/e.yaml": '# @package _global_\n"\\x68ydra": {callbacks: {x: {_target_: os.system}}}\n',
    "dataset/hydra.yaml": "# @package _name_\ncallbacks: {x: {_target_: os.system}}\n",
    "grid/f.yaml": "# @package _global_\nhydra: {mode: MULTIRUN, job: {env_set: {LD_PRELOAD: x.so}}}\n",
    "grid/g.yaml": "# @package _global_\nhydra: {sweeper: {params: {hydra.job.env_set.A: b}}}\n",
    "grid/h.yaml": "# @package _global_\nhydra: {sweeper: {_target_: os.system}}\n",
    "grid/i.yaml": "# @package _global_\nhydra: {job_logging: {handlers: {x: {(): os.system}}}}\n",
    "grid/j.yaml": "a: &a {callbacks: 1}\nhydra: *a\n",
    "grid/k.yaml": "hydra: [1]\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_yaml_that_sets_more_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(REFUSED[name])
    with pytest.raises(ConfigError) as caught:
        check_own_options([tmp_path], [])
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: an option of your own cannot set ")
    assert line.endswith("Add allow_code=true to run code of your own.")


def test_yaml_behind_a_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "lab" / "hydra" / "other").mkdir(parents=True)
    (tmp_path / "lab" / "hydra" / "other" / "a.yaml").write_text(f"# @package _global_\n{CALLBACK}")
    check_own_options([tmp_path / "lab"], [])
    (tmp_path / "lab" / "dataset").symlink_to(tmp_path / "lab" / "hydra")
    (tmp_path / "lab" / "hydra" / "back").symlink_to(tmp_path / "lab")
    with pytest.raises(ConfigError, match="cannot set hydra") as caught:
        check_own_options([tmp_path / "lab"], [])
    assert len(caught.value.problems) >= 1


def test_grids_and_ordinary_options_are_accepted(tmp_path: Path) -> None:
    for name, text in {
        "grid/mine.yaml": "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}\n",
        "dataset/ward.yaml": "# see hydra.cc\ndefaults: [npz, _self_]\npath: /data/hydra/x.npz\n",
        "dataset/damaged.yaml": "a: [",
        "hydra/launcher/ours.yaml": "defaults: [slurm, _self_]\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    check_own_options([tmp_path], ["dataset=ward", "hydra/launcher=slurm"])
    with pytest.raises(ConfigError, match=r"ours\.yaml: an option of your own cannot set hydra"):
        check_own_options([tmp_path], ["hydra/launcher=ours"])
