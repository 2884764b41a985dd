"""A run: what changes its identity, how it is found, its states, its lock and its files."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from simclr_med.config.validate import validate_config
from simclr_med.errors import MissingEncoderError, RunError, WantedEncoder
from simclr_med.runs import init
from simclr_med.runs.finished_runs import load_config
from simclr_med.runs.identity import ADDED, Init, budget_name, compute_config_hash
from simclr_med.runs.names import run_folder
from simclr_med.runs.run import open_run
from simclr_med.runs.states import run_state

RANDOM = Init("random", "random")


def identity_of(composed, *overrides: str, data: str = "d", init_hash: str = "random") -> str:
    return compute_config_hash(validate_config(composed(*overrides)).plain, data, init_hash)


@pytest.mark.parametrize(
    "override",
    ["paths.runs=elsewhere", "logger=none", "trainer=cpu", "trainer.threads=1", "keep=all", "overwrite=true"],
)
def test_operational_keys_do_not_change_the_identity(composed, override: str) -> None:
    assert identity_of(composed, override) == identity_of(composed)


@pytest.mark.parametrize(
    "override",
    ["seed=1", "stage.epochs=3", "augmentation=simple", "encoder=tiny", "data_fraction=n100", "optimizer.lr=0.1"],
)
def test_scientific_keys_change_the_identity(composed, override: str) -> None:
    assert identity_of(composed, override) != identity_of(composed)


@pytest.mark.parametrize(
    "override", ["stage.exact_accumulate=true", "stage.positives=patient", "stage.mask_same_patient=true"]
)
def test_added_keys_are_hashed_unless_they_have_their_earlier_value(composed, override: str) -> None:
    own = ("dataset=npz", "dataset.path=a.npz", "dataset.groups_csv=p.csv", "stage.accumulate=2")
    cfg = validate_config(composed(*own)).plain
    earlier = OmegaConf.to_container(cfg)
    for group, added in ADDED.items():
        for key, value in added.items():
            assert earlier[group].pop(key) == value
    assert compute_config_hash(OmegaConf.create(earlier), "d", "random") == compute_config_hash(cfg, "d", "random")
    assert identity_of(composed, *own, override) != identity_of(composed, *own)


def test_both_spellings_of_a_budget_give_the_same_folder(composed) -> None:
    cfgs = [
        validate_config(composed(override)).plain for override in ("data_fraction=n100", "data_fraction.samples=100")
    ]
    (folder,) = {run_folder(cfg, compute_config_hash(cfg, "d", "random"), init.random("", "", 0)) for cfg in cfgs}
    assert "-n100-" in folder.name


def test_names_of_large_budgets_keep_every_digit(composed) -> None:
    names = [budget_name(composed(f"data_fraction.samples={n}").data_fraction) for n in (1000001, 1000002)]
    assert names == ["n1000001", "n1000002"]
    assert budget_name(composed("data_fraction.percent=0.1").data_fraction) == "pct0.1"


@pytest.mark.parametrize("option", ["full", "n5000", "pct1", "pct10", "per_class25"])
def test_budget_name_is_the_name_of_its_option(composed, option: str) -> None:
    assert budget_name(validate_config(composed(f"data_fraction={option}")).data_fraction) == option


def test_data_and_initial_weights_change_the_identity(composed) -> None:
    assert len({identity_of(composed), identity_of(composed, data="e"), identity_of(composed, init_hash="o")}) == 3


def test_states_from_pending_to_finished(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}/runs"))
    with open_run(cfg, "d", RANDOM) as run:
        assert run.state == "pending"
        assert OmegaConf.load(run.folder / "config.yaml") == OmegaConf.create(OmegaConf.to_container(cfg.plain))
    with open_run(cfg, "d", RANDOM) as run:
        assert run.state == "unfinished"
        run.checkpoints.mkdir()
        (run.checkpoints / "last.ckpt").touch()
        run.finish({"train/loss": 1.0}, {"wall_s": 2.0}, {"encoder_hash": "e"})
    with open_run(cfg, "d", RANDOM) as run:
        assert run.state == "finished"
        assert run.result()["metrics"] == {"train/loss": 1.0}
        assert not (run.checkpoints / "last.ckpt").exists()
    again = validate_config(composed(f"paths.runs={tmp_path}/runs", "overwrite=true"))
    with open_run(again, "d", RANDOM) as run:
        assert run.state == "pending"
        assert not (run.folder / "result.json").exists()


@pytest.mark.parametrize("content", ['{"config_hash": "', "", "[]", "null"])
def test_damaged_result_json_counts_as_unfinished(composed, tmp_path: Path, capsys, content: str) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", RANDOM) as run:
        (run.folder / "result.json").write_text(content)
    assert capsys.readouterr().out == ""
    with open_run(cfg, "d", RANDOM) as run:
        assert run.state == "unfinished"
    assert "result.json: unreadable. The run is repeated." in capsys.readouterr().out


def test_interrupted_overwrite_leaves_no_finished_run(composed, tmp_path: Path, monkeypatch) -> None:
    folder = finished(composed, tmp_path)

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    cfg = validate_config(composed(f"paths.runs={tmp_path}", "overwrite=true"))
    with pytest.raises(KeyboardInterrupt), open_run(cfg, "d", RANDOM):
        pass
    assert run_state(folder, compute_config_hash(cfg.plain, "d", "random")) == "unfinished"


def test_temporary_files_of_a_killed_run_are_deleted(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", RANDOM) as run:
        run.checkpoints.mkdir()
        left = [run.folder / ".result.json.123.tmp", run.checkpoints / ".last.ckpt.123.tmp"]
        for path in left:
            path.touch()
    with open_run(cfg, "d", RANDOM) as run:
        assert not any(path.exists() for path in left)


def test_full_disk_is_reported_in_one_line_with_its_file(composed, tmp_path: Path, capsys, monkeypatch) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_run(cfg, "d", RANDOM) as run:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space") as hit:
            run.finish({}, {}, {})
        with pytest.raises(RunError, match=r"result.json: could not be written \(No space left on device\)"):
            run.fail(hit.value)
        run.fail(RunError("reported before"))
        monkeypatch.undo()
        assert capsys.readouterr().err == ""
        assert sorted(path.name for path in run.folder.iterdir()) == ["config.yaml"]


def test_error_after_result_json_leaves_a_finished_run(composed, tmp_path: Path) -> None:
    with open_run(validate_config(composed(f"paths.runs={tmp_path}")), "d", RANDOM) as run:
        run.finish({}, {}, {})
        with pytest.raises(RunError, match=r"the run is finished, but a later step failed \(boom\)"):
            run.fail(ValueError("boom"))
        assert not (run.folder / "failure.json").exists()


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("simclr_med.errors.CheckpointError: last.ckpt: full.", r"^last.ckpt: full\.$"),
        ("KeyError: 'a'", "KeyError: 'a' .tr"),
    ],
)
def test_error_of_another_process_is_reported_by_its_last_line(
    composed, tmp_path: Path, last: str, expected: str
) -> None:
    hidden = (
        f"\n\n-- Process 0 terminated with the following error:\nTraceback (most recent call last):\n  File x\n{last}\n"
    )
    with open_run(validate_config(composed(f"paths.runs={tmp_path}")), "d", RANDOM) as run:
        with pytest.raises(RunError, match=expected):
            run.fail(RuntimeError(hidden))
        assert "-- Process 0" in json.loads((run.folder / "failure.json").read_text())["traceback"]


def test_folder_removed_during_a_run_is_reported(composed, tmp_path: Path) -> None:
    with open_run(validate_config(composed(f"paths.runs={tmp_path}")), "d", RANDOM) as run:
        shutil.rmtree(run.folder)
        with pytest.raises(RunError, match="the folder was removed during the run"):
            run.fail(FileNotFoundError("metrics.csv"))


def test_lock_file_on_a_full_disk_is_reported_in_one_line(composed, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with pytest.raises(RunError, match=r"paths.runs=.*\(No space left on device\)"), open_run(cfg, "d", RANDOM):
        pass


@pytest.mark.parametrize("owner", ["process 999999 on here", "process 1 on elsewhere", ""])
def test_stale_owner_files_do_not_block(composed, tmp_path: Path, capsys, owner: str) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", RANDOM) as run:
        lock = tmp_path / ".locks" / f"{run.config_hash}.owner"
    lock.write_text(owner)
    with open_run(cfg, "d", RANDOM):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert "Waiting" not in capsys.readouterr().out


def test_failure_json_is_written_and_deleted_when_the_run_finishes(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    with open_run(cfg, "d", RANDOM) as run:
        run.fail(ValueError("boom"))
        recorded = json.loads((run.folder / "failure.json").read_text())
        assert recorded["message"] == "boom"
        assert "ValueError" in recorded["traceback"]
        run.finish({}, {}, {})
        assert not (run.folder / "failure.json").exists()


def _hold(cfg, began, seconds: float) -> None:
    with open_run(cfg, "d", RANDOM):
        began.set()
        time.sleep(seconds)


def test_second_process_waits_for_the_first(composed, tmp_path: Path, capsys) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    context = multiprocessing.get_context("fork")
    began = context.Event()
    other = context.Process(target=_hold, args=(cfg, began, 0.5))
    other.start()
    began.wait(5)
    start = time.monotonic()
    with open_run(cfg, "d", RANDOM) as run:
        assert run.state == "unfinished"
    assert 0.2 < time.monotonic() - start < 5
    assert f"Waiting for process {other.pid}" in capsys.readouterr().out
    other.join()


def test_killed_owner_does_not_block(composed, tmp_path: Path) -> None:
    cfg = validate_config(composed(f"paths.runs={tmp_path}"))
    context = multiprocessing.get_context("fork")
    began = context.Event()
    other = context.Process(target=_hold, args=(cfg, began, 60))
    other.start()
    began.wait(5)
    other.kill()
    other.join()
    start = time.monotonic()
    with open_run(cfg, "d", RANDOM):
        assert time.monotonic() - start < 2


def finished(composed, folder: Path, *overrides: str) -> Path:
    cfg = validate_config(composed(f"paths.runs={folder}", *overrides))
    with open_run(cfg, "d", RANDOM) as run:
        (run.folder / "encoder.safetensors").touch()
        run.finish({}, {}, {"encoder_hash": f"hash-{run.config_hash}"})
    return run.folder


def find(folder: Path, **changed: object) -> Init:
    wanted = {
        "dataset": "synthetic",
        "augmentation": "microscopy",
        "encoder": "resnet14",
        "size": 28,
        "seed": 0,
        "start": "random",
        "exclude": None,
        "run": None,
    }
    return init.pretrained(runs=str(folder), **(wanted | changed))  # type: ignore[arg-type]


def test_finished_run_is_found_by_its_fields(composed, tmp_path: Path) -> None:
    one = finished(composed, tmp_path)
    two = finished(composed, tmp_path, "seed=1")
    assert find(tmp_path).run == one
    assert find(tmp_path, seed=1).run == two
    assert find(tmp_path, seed=1).hash != find(tmp_path).hash
    assert find(tmp_path, run=str(two)).run == two


def test_of_several_runs_the_one_with_the_same_images_is_found(composed, tmp_path: Path) -> None:
    listed = finished(composed, tmp_path, "dataset.exclude=twins.csv", "stage.epochs=2")
    assert find(tmp_path).run == listed, "the only one"
    whole = finished(composed, tmp_path)
    assert find(tmp_path).run == whole
    assert find(tmp_path, exclude="twins.csv").run == listed
    with pytest.raises(RunError, match="2 finished pretraining runs have"):
        find(tmp_path, exclude="others.csv")


def test_further_pretraining_is_found_by_its_initial_weights(composed, tmp_path: Path) -> None:
    scratch = finished(composed, tmp_path)
    words = ("init=pretrained", "init.dataset=pathmnist")
    cfg = validate_config(composed(f"paths.runs={tmp_path}", *words))
    with open_run(cfg, "d", Init("pretrained", "h", run=tmp_path / "pathmnist" / "novel-a")) as run:
        (run.folder / "encoder.safetensors").touch()
        run.finish({}, {}, {"encoder_hash": "further"})
    assert find(tmp_path).run == scratch
    assert find(tmp_path, start="pathmnist").hash == "further"
    with pytest.raises(MissingEncoderError) as error:
        find(tmp_path, start="bloodmnist")
    assert error.value.wanted.start == "bloodmnist"


def test_initial_weights_of_a_named_run_are_of_the_data_set_of_that_run(composed, cells: Path, tmp_path: Path) -> None:
    source = finished(composed, tmp_path, "dataset=npz", f"dataset.path={cells}")
    further = finished(composed, tmp_path, "init=pretrained", f"init.run={source}")
    assert find(tmp_path, start="cells").run == further
    with pytest.raises(MissingEncoderError):
        find(tmp_path, start="synthetic")
    shutil.rmtree(source)
    assert find(tmp_path, start="synthetic").run == further, "nothing else is known of a deleted run"


def test_a_missing_size_fits_any_size(composed, cells: Path, tmp_path: Path) -> None:
    own = finished(composed, tmp_path, "dataset=npz", f"dataset.path={cells}")  # the size is that of the file
    drawn = finished(composed, tmp_path)
    assert find(tmp_path, dataset="cells", size=28).run == own
    assert find(tmp_path, size=None).run == drawn
    with pytest.raises(RunError, match=r"no finished pretraining run under .* has dataset=synthetic .* size=64 "):
        find(tmp_path, size=64)
    finished(composed, tmp_path, "dataset.size=64")
    with pytest.raises(
        RunError, match="2 finished pretraining runs have dataset=synthetic augmentation=microscopy enc"
    ):
        find(tmp_path, size=None)


def test_missing_run_raises_the_wanted_fields_and_the_candidates(composed, tmp_path: Path) -> None:
    one = finished(composed, tmp_path)
    with pytest.raises(MissingEncoderError) as error:
        find(tmp_path, seed=7)
    assert error.value.wanted == WantedEncoder("synthetic", "microscopy", "resnet14", 28, 7, "random")
    assert error.value.candidates == (one,)
    assert str(one) in str(error.value)
    assert "simclr-med" not in str(error.value)  # the command is worded by cli
    copy = pickle.loads(pickle.dumps(error.value))
    assert (copy.problems, copy.wanted) == (error.value.problems, error.value.wanted)


def test_all_fitting_runs_are_listed(composed, tmp_path: Path) -> None:
    several = [finished(composed, tmp_path, f"stage.epochs={epochs}") for epochs in (1, 2)]
    with pytest.raises(RunError) as error:
        find(tmp_path)
    assert all(str(folder) in str(error.value) for folder in several)
    assert "init.run=" in str(error.value)


@pytest.mark.parametrize("content", ["a: [b: {", "", "seed: 0\n", "- 1\n"])
def test_finished_run_with_unreadable_config_is_ignored(composed, tmp_path: Path, capsys, content: str) -> None:
    one = finished(composed, tmp_path, "stage.epochs=1")
    two = finished(composed, tmp_path, "stage.epochs=2")
    (two / "config.yaml").write_text(content)
    assert find(tmp_path).run == one
    assert f"{two}: result.json or config.yaml is unreadable. The run is ignored." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda cfg: cfg.update(seed="${nope}"), r"seed='\$\{nope\}': expected a resolved value"),
        (
            lambda cfg: cfg["dataset"].update(name="${oc.env:HOME}"),
            "dataset.name='.*oc.env:HOME.*': expected a resolved",
        ),
        (lambda cfg: cfg["stage"].update({"${oc.env:HOME}": 1}), "expected a resolved value"),
        (lambda cfg: cfg.update(seed="???"), "expected a resolved value"),
        (lambda cfg: cfg.update(seed=float("inf")), "seed=inf: expected an integer"),
        (lambda cfg: cfg.update(init="pretrained"), "init=pretrained: expected a mapping"),
        (lambda cfg: cfg["dataset"].update(size=[28]), "dataset.size=.*: expected an integer"),
    ],
)
def test_a_foreign_config_does_not_block_the_search(composed, tmp_path: Path, capsys, change, reason: str) -> None:
    one = finished(composed, tmp_path, "stage.epochs=1")
    two = finished(composed, tmp_path, "stage.epochs=2")
    content = yaml.safe_load((two / "config.yaml").read_text())
    change(content)
    (two / "config.yaml").write_text(yaml.safe_dump(content))
    for _ in range(2):
        assert find(tmp_path).run == one
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1  # said once
    assert lines[0].startswith(f"{two}: result.json or config.yaml is unreadable. The run is ignored. Reason: config.y")
    assert re.search(reason, lines[0])
    assert load_config(two) is None


@pytest.mark.parametrize("name", ["config.yaml", "result.json"])
def test_pipes_do_not_block_the_search(composed, tmp_path: Path, name: str) -> None:
    one = finished(composed, tmp_path, "stage.epochs=1")
    two = finished(composed, tmp_path, "stage.epochs=2")
    (two / name).unlink()
    os.mkfifo(two / name)
    assert find(tmp_path).run == one


def test_config_has_attributes_and_can_be_changed(composed, tmp_path: Path) -> None:
    cfg = load_config(finished(composed, tmp_path))
    assert cfg is not None
    assert (cfg.seed, cfg.encoder.name, cfg.dataset.get("size")) == (0, "resnet14", 28)
    cfg.init.run = "other"
    assert cfg.init.pop("run") == "other"


@pytest.mark.parametrize("text", ["[1]", '{"provenance": []}', '{"provenance": {"encoder_hash": [1]}}', "[" * 100_000])
def test_a_run_whose_result_has_other_types_is_one_line(composed, tmp_path: Path, text: str) -> None:
    folder = finished(composed, tmp_path)
    (folder / "result.json").write_text(text)
    with pytest.raises(RunError, match="not the folder of a finished pretraining run"):
        find(tmp_path, run=str(folder))
    with pytest.raises(RunError, match="not the folder of a finished run"):
        init.model(str(folder))
