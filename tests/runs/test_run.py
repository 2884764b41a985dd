"""A run is its config: what changes its identity, who finds it, and what its folder tells."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from simclr_med.config.validate import validate_config
from simclr_med.errors import RunError
from simclr_med.runs import init
from simclr_med.runs.identity import Init, budget_name, compute_config_hash, run_folder
from simclr_med.runs.run import open_run, run_state

ORIGIN = Init("random", "random")


def identity_of(composed, *overrides: str, data: str = "d", origin: str = "random") -> str:
    return compute_config_hash(validate_config(composed(*overrides)).plain, data, origin)


@pytest.mark.parametrize(
    "word",
    ["paths.runs=elsewhere", "logger=none", "trainer=cpu", "trainer.threads=1", "keep=all", "overwrite=true"],
)
def test_where_and_how_do_not_change_a_run(composed, word: str) -> None:
    assert identity_of(composed, word) == identity_of(composed)


@pytest.mark.parametrize(
    "word",
    ["seed=1", "stage.epochs=3", "augmentation=simple", "encoder=tiny", "data_fraction=n100", "optimizer.lr=0.1"],
)
def test_what_is_computed_changes_a_run(composed, word: str) -> None:
    assert identity_of(composed, word) != identity_of(composed)


def test_a_budget_is_the_same_run_by_either_spelling(composed) -> None:
    cfgs = [validate_config(composed(word)).plain for word in ("data_fraction=n100", "data_fraction.samples=100")]
    (folder,) = {run_folder(cfg, compute_config_hash(cfg, "d", "random"), init.random("", "", 0)) for cfg in cfgs}
    assert "-n100-" in folder.name


def test_large_budgets_keep_every_digit(composed) -> None:
    names = [budget_name(composed(f"data_fraction.samples={n}").data_fraction) for n in (1000001, 1000002)]
    assert names == ["n1000001", "n1000002"]
    assert budget_name(composed("data_fraction.percent=0.1").data_fraction) == "pct0.1"


@pytest.mark.parametrize("option", ["full", "n5000", "pct1", "pct10", "per_class25"])
def test_a_budget_is_called_by_its_option(composed, option: str) -> None:
    assert budget_name(validate_config(composed(f"data_fraction={option}")).data_fraction) == option


def test_data_and_origin_change_a_run(composed) -> None:
    assert len({identity_of(composed), identity_of(composed, data="e"), identity_of(composed, origin="o")}) == 3


def test_a_run_from_new_to_finished(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}/runs"))
    with open_run(cfg, "d", ORIGIN) as run:
        assert run.state == "new"
        assert OmegaConf.load(run.folder / "config.yaml") == OmegaConf.create(OmegaConf.to_container(cfg.plain))
    with open_run(cfg, "d", ORIGIN) as run:
        assert run.state == "unfinished"
        run.checkpoints.mkdir()
        (run.checkpoints / "last.ckpt").touch()
        run.finish({"train/loss": 1.0}, {"wall_s": 2.0}, {"encoder_hash": "e"})
    with open_run(cfg, "d", ORIGIN) as run:
        assert run.state == "finished"
        assert run.result()["metrics"] == {"train/loss": 1.0}
        assert not (run.checkpoints / "last.ckpt").exists()
    again = validate_config(composed(f"paths.runs={tmp_path}/runs", "overwrite=true"))
    with open_run(again, "d", ORIGIN) as run:
        assert run.state == "new"
        assert not (run.folder / "result.json").exists()


@pytest.mark.parametrize("content", ['{"config_hash": "', "", "[]", "null"])
def test_a_damaged_result_is_an_unfinished_run(composed, tmp_path: Path, capsys, content: str) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", ORIGIN) as run:
        (run.folder / "result.json").write_text(content)
    assert capsys.readouterr().out == ""
    with open_run(cfg, "d", ORIGIN) as run:
        assert run.state == "unfinished"
    assert "result.json: cannot be read, so this run is done again." in capsys.readouterr().out


def test_a_removal_that_is_cut_short_leaves_no_finished_run(composed, tmp_path: Path, monkeypatch) -> None:
    folder = finished(composed, tmp_path)

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    cfg = validate_config(composed(f"paths.runs={tmp_path}", "overwrite=true"))
    with pytest.raises(KeyboardInterrupt), open_run(cfg, "d", ORIGIN):
        pass
    assert run_state(folder, compute_config_hash(cfg.plain, "d", "random")) == "unfinished"


def test_what_a_kill_left_half_written_goes(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", ORIGIN) as run:
        run.checkpoints.mkdir()
        left = [run.folder / ".result.json.123.tmp", run.checkpoints / ".last.ckpt.123.tmp"]
        for path in left:
            path.touch()
    with open_run(cfg, "d", ORIGIN) as run:
        assert not any(path.exists() for path in left)


def test_a_full_disk_is_told_in_one_line_for_the_file(composed, tmp_path: Path, capsys, monkeypatch) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_run(cfg, "d", ORIGIN) as run:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space") as hit:
            run.finish({}, {}, {})
        with pytest.raises(RunError, match=r"result.json: could not be written \(No space left on device\)"):
            run.fail(hit.value)
        run.fail(RunError("told already"))
        monkeypatch.undo()
        assert capsys.readouterr().err == ""
        assert sorted(path.name for path in run.folder.iterdir()) == ["config.yaml"]


def test_what_fails_after_the_result_leaves_a_finished_run(composed, tmp_path: Path) -> None:
    with open_run(validate_config(composed(f"paths.runs={tmp_path}")), "d", ORIGIN) as run:
        run.finish({}, {}, {})
        with pytest.raises(RunError, match=r"is finished, but what came after failed \(boom\)"):
            run.fail(ValueError("boom"))
        assert not (run.folder / "failure.json").exists()


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("simclr_med.errors.CheckpointError: last.ckpt: full.", r"^last.ckpt: full\.$"),
        ("KeyError: 'a'", "KeyError: 'a' .tr"),
    ],
)
def test_an_error_of_another_process_is_told_by_its_last_line(composed, tmp_path: Path, last: str, told: str) -> None:
    hidden = (
        f"\n\n-- Process 0 terminated with the following error:\nTraceback (most recent call last):\n  File x\n{last}\n"
    )
    with open_run(validate_config(composed(f"paths.runs={tmp_path}")), "d", ORIGIN) as run:
        with pytest.raises(RunError, match=told):
            run.fail(RuntimeError(hidden))
        assert "-- Process 0" in json.loads((run.folder / "failure.json").read_text())["traceback"]


def test_a_folder_removed_under_a_run_is_told(composed, tmp_path: Path) -> None:
    with open_run(validate_config(composed(f"paths.runs={tmp_path}")), "d", ORIGIN) as run:
        shutil.rmtree(run.folder)
        with pytest.raises(RunError, match="it was removed"):
            run.fail(FileNotFoundError("metrics.csv"))


def test_a_lock_file_without_room_is_one_line(composed, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with pytest.raises(RunError, match=r"paths.runs=.*\(No space left on device\)"), open_run(cfg, "d", ORIGIN):
        pass


@pytest.mark.parametrize("owner", ["process 999999 on here", "process 1 on elsewhere", ""])
def test_what_a_dead_process_wrote_holds_no_lock(composed, tmp_path: Path, capsys, owner: str) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", ORIGIN) as run:
        lock = tmp_path / ".locks" / f"{run.config_hash}.owner"
    lock.write_text(owner)
    with open_run(cfg, "d", ORIGIN):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert "Waiting" not in capsys.readouterr().out


def test_a_failure_is_recorded_and_goes_when_the_run_ends_well(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", ORIGIN) as run:
        run.fail(ValueError("boom"))
        recorded = json.loads((run.folder / "failure.json").read_text())
        assert recorded["message"] == "boom"
        assert "ValueError" in recorded["traceback"]
        run.finish({}, {}, {})
        assert not (run.folder / "failure.json").exists()


def _hold(cfg, began, seconds: float) -> None:
    with open_run(cfg, "d", ORIGIN):
        began.set()
        time.sleep(seconds)


def test_a_second_process_waits_for_the_first(composed, tmp_path: Path, capsys) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    context = multiprocessing.get_context("fork")
    began = context.Event()
    other = context.Process(target=_hold, args=(cfg, began, 0.5))
    other.start()
    began.wait(5)
    start = time.monotonic()
    with open_run(cfg, "d", ORIGIN) as run:
        assert run.state == "unfinished"
    assert 0.2 < time.monotonic() - start < 5
    assert f"Waiting for process {other.pid}" in capsys.readouterr().out
    other.join()


def test_a_killed_owner_holds_no_lock(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    context = multiprocessing.get_context("fork")
    began = context.Event()
    other = context.Process(target=_hold, args=(cfg, began, 60))
    other.start()
    began.wait(5)
    other.kill()
    other.join()
    start = time.monotonic()
    with open_run(cfg, "d", ORIGIN):
        assert time.monotonic() - start < 2


def finished(composed, folder: Path, *overrides: str) -> Path:
    cfg = validate_config(composed(f"paths.runs={folder}", *overrides))
    with open_run(cfg, "d", ORIGIN) as run:
        (run.folder / "encoder.safetensors").touch()
        run.finish({}, {}, {"encoder_hash": f"hash-{run.config_hash}"})
    return run.folder


def find(folder: Path, **changed: object) -> Init:
    wanted = {
        "dataset": "synthetic",
        "augmentation": "novel",
        "encoder": "resnet18",
        "size": 28,
        "seed": 0,
        "start": "random",
        "run": None,
        "path": None,
    }
    return init.pretrained(runs=str(folder), **(wanted | changed))  # type: ignore[arg-type]


def test_a_finished_run_is_found_by_its_fields(composed, tmp_path: Path) -> None:
    one = finished(composed, tmp_path)
    two = finished(composed, tmp_path, "seed=1")
    assert find(tmp_path).run == one
    assert find(tmp_path, seed=1).run == two
    assert find(tmp_path, seed=1).hash != find(tmp_path).hash
    assert find(tmp_path, run=str(two)).run == two


def test_further_pretraining_is_told_from_its_like_by_where_it_started(composed, tmp_path: Path) -> None:
    scratch = finished(composed, tmp_path)
    words = ("init=pretrained", "init.dataset=pathmnist")
    cfg = validate_config(composed(f"paths.runs={tmp_path}", *words))
    with open_run(cfg, "d", Init("pretrained", "h", run=tmp_path / "pathmnist" / "novel-a")) as run:
        (run.folder / "encoder.safetensors").touch()
        run.finish({}, {}, {"encoder_hash": "further"})
    assert find(tmp_path).run == scratch
    assert find(tmp_path, start="pathmnist").hash == "further"
    with pytest.raises(RunError, match=r"seed=0 init=pretrained init.dataset=bloodmnist"):
        find(tmp_path, start="bloodmnist")


def test_the_command_for_a_file_of_ones_own_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"dataset=npz dataset.path='/d/my cells.npz' augmentation=novel"):
        find(tmp_path, dataset="my-cells", path="/d/my cells.npz")


def test_a_size_that_only_one_side_states_is_no_difference(composed, cells: Path, tmp_path: Path) -> None:
    own = finished(composed, tmp_path, "dataset=npz", f"dataset.path={cells}")  # the size is that of the file
    drawn = finished(composed, tmp_path)
    assert find(tmp_path, dataset="cells", size=28).run == own
    assert find(tmp_path, size=None).run == drawn
    with pytest.raises(RunError, match=r"none fits dataset=synthetic .* size=64 "):
        find(tmp_path, size=64)
    finished(composed, tmp_path, "dataset.size=64")
    with pytest.raises(RunError, match="2 fit dataset=synthetic augmentation=novel encoder=resnet18 seed=0"):
        find(tmp_path, size=None)


def test_the_command_for_another_data_set_names_its_file_and_the_size(composed, cells: Path, tmp_path: Path) -> None:
    finished(composed, tmp_path, "dataset=npz", f"dataset.path={cells}", "dataset.name=blood")
    with pytest.raises(RunError, match=f"dataset=npz dataset.path={cells} dataset.name=blood augmentation=simple"):
        find(tmp_path, dataset="blood", own="synthetic", augmentation="simple")
    with pytest.raises(RunError, match=r"dataset=pathmnist dataset\.size=64 augmentation=novel"):
        find(tmp_path, dataset="pathmnist", own="synthetic", size=64)


def test_no_fitting_run_names_the_command_that_makes_one(composed, tmp_path: Path) -> None:
    one = finished(composed, tmp_path)
    with pytest.raises(RunError) as error:
        find(tmp_path, seed=7)
    assert "simclr-med stage=pretrain dataset=synthetic augmentation=novel encoder=resnet18 seed=7" in str(error.value)
    assert str(one) in str(error.value)


def test_several_fitting_runs_are_listed(composed, tmp_path: Path) -> None:
    several = [finished(composed, tmp_path, f"stage.epochs={epochs}") for epochs in (1, 2)]
    with pytest.raises(RunError) as error:
        find(tmp_path)
    assert all(str(folder) in str(error.value) for folder in several)
    assert "init.run=" in str(error.value)


@pytest.mark.parametrize("content", ["a: [b: {", "", "seed: 0\n", "- 1\n"])
def test_a_finished_run_of_an_unreadable_config_is_passed_over(composed, tmp_path: Path, capsys, content: str) -> None:
    one = finished(composed, tmp_path, "stage.epochs=1")
    two = finished(composed, tmp_path, "stage.epochs=2")
    (two / "config.yaml").write_text(content)
    assert find(tmp_path).run == one
    assert f"{two}: its result.json or config.yaml cannot be read; passed over." in capsys.readouterr().err
