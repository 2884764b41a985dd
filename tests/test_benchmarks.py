"""The benchmarks: the peers do the work that they stand for, and the script's figures are those it says. No timing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
SEQUENCES = ("natural", "simple", "novel", "greyscale")


def _imported(name: str) -> Iterator[ModuleType]:
    """A script of benchmarks/ as a module, gone again afterwards (their plain names belong to nobody)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        before = set(sys.modules)
        yield __import__(name)
        for added in {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - before:
            sys.modules.pop(added, None)


@pytest.fixture(scope="module")
def original() -> Iterator[ModuleType]:
    yield from _imported("original")


@pytest.fixture(scope="module")
def pretrain() -> Iterator[ModuleType]:
    yield from _imported("pretrain")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    yield from _imported("bench")


@pytest.fixture(scope="module")
def lightly_peer() -> Iterator[ModuleType]:
    pytest.importorskip("lightly", reason="the extra bench is not installed")
    yield from _imported("lightly_peer")


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8))


@pytest.mark.parametrize("augmentation", SEQUENCES)
def test_original_views_are_normalised_tensors_that_differ(original, image, augmentation):
    views = original.Twice(original.view_transform(augmentation, 28))
    torch.manual_seed(0)
    one, two = views(image)
    assert one.shape == two.shape == (3, 28, 28)
    assert one.dtype == torch.float32
    assert not torch.equal(one, two)
    black, _ = views(Image.new("RGB", (28, 28)))  # black whatever is drawn
    assert torch.equal(black, torch.full((3, 28, 28), -1.0))


def test_original_loss_is_nt_xent(original):
    projections = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unit = projections / projections.norm(dim=1, keepdim=True)
    expected = 0.0
    for i in range(8):
        others = [float(unit[i] @ unit[k]) / 0.07 for k in range(8) if k != i]
        expected += float(np.log(np.sum(np.exp(others)))) - float(unit[i] @ unit[(i + 4) % 8]) / 0.07
    assert float(original.nt_xent_by_broadcast(projections)) == pytest.approx(expected / 8, rel=1e-9)


def test_original_network_has_the_thesis_head(original):
    head = original.network("resnet18").fc
    assert [tuple(weights.shape) for weights in head.parameters()] == [(512, 512), (512,), (128, 512), (128,)]


def test_training_counts_its_steps_over_epochs(original, cells):
    given = original.arguments([str(cells), "--batch-size=16", "--steps=3", "--workers=0", "--augmentation=simple"])
    loader = original.loader_of(given, lambda side: original.Twice(original.view_transform("simple", side)))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 4))
    start = model[1].weight.detach().clone()
    told = original.train(
        loader,
        model,
        lambda net, a, b: original.nt_xent_by_broadcast(net(torch.cat((a, b)))),
        given.steps,
        given.warmup,
    )
    assert len(loader) == 2  # 40 images: the third step is of a second epoch
    assert (told["steps"], told["images_trained"]) == (3, 48)
    assert told["images_per_s"] == pytest.approx(16 / told["seconds_per_step"])
    assert not torch.equal(start, model[1].weight)


def test_warmup_of_all_steps_is_refused(original, capsys):
    with pytest.raises(SystemExit):
        original.arguments(["data.npz", "--steps=2", "--warmup=2"])
    assert "must be at least 0 and below --steps 2" in capsys.readouterr().err


@pytest.mark.parametrize("augmentation", SEQUENCES)
def test_lightly_makes_views_of_every_sequence(lightly_peer, image, augmentation):
    one, two = lightly_peer.two_views(augmentation, 28)(image)
    assert one.shape == two.shape == (3, 28, 28)
    black, _ = lightly_peer.two_views(augmentation, 28)(Image.new("RGB", (28, 28)))
    assert torch.equal(black, torch.full((3, 28, 28), -1.0))


def test_lightly_trains_the_same_network(lightly_peer, original):
    theirs, ours = lightly_peer.network("resnet18"), original.network("resnet18")
    assert [p.shape for p in theirs.parameters()] == [p.shape for p in ours.parameters()]


@pytest.mark.parametrize("labelled", [True, False])
def test_benchmark_data_is_of_the_size_asked_for(pretrain, cells, tmp_path, labelled):
    if not labelled:
        with np.load(cells) as file:
            np.savez(cells, **{name: file[name] for name in file if name.endswith("_images")})
    pretrain.write_data(tmp_path / "from_file.npz", cells, 14, 28)
    pretrain.write_data(tmp_path / "drawn.npz", None, 14, 20)
    with np.load(tmp_path / "from_file.npz") as file, np.load(cells) as source:
        assert file["train_images"].shape == (14, 28, 28, 3)
        assert file["val_images"].shape == (2, 28, 28, 3)
        assert np.array_equal(file["train_images"][-1], source["train_images"][-1])
        assert ("train_labels" in file) == labelled
    with np.load(tmp_path / "drawn.npz") as file:
        assert file["train_images"].shape == (14, 20, 20, 3)
        assert file["train_labels"].shape == (14, 1)
        assert file["train_images"].dtype == np.uint8


def test_ratios_are_taken_within_a_round(pretrain):
    def measured(system: str, whole: float, step: float):
        return pretrain.Measured(system, wall_s=1.0, cpu_s=2.0, images=10, whole=whole, step=step, cpu=5.0)

    rounds = [
        [measured("simclr-med", 10.0, 100.0), measured("original", 2.0, 50.0)],
        [measured("simclr-med", 20.0, 200.0), measured("original", 2.0, 20.0)],
        [measured("simclr-med", 30.0, 90.0), measured("original", 10.0, 30.0)],
    ]
    assert pretrain.rates(rounds)["simclr-med"]["whole"] == {"min": 10.0, "median": 20.0, "max": 30.0}
    found = pretrain.ratios(rounds)["original"]
    assert found["whole"] == {"min": 3.0, "median": 5.0, "max": 10.0}
    assert found["step"] == {"min": 2.0, "median": 3.0, "max": 10.0}


def test_a_process_that_fails_is_told_with_its_words(pretrain, tmp_path):
    with pytest.raises(SystemExit, match=r"failed with 3:\nno such thing"):
        pretrain.whole_process([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], tmp_path)


def test_cpu_time_is_that_of_the_process(pretrain, tmp_path):
    busy = "import time\nwhile time.process_time() < 0.2: pass\nprint('done')"
    wall_s, cpu_s, printed = pretrain.whole_process([sys.executable, "-c", busy], tmp_path)
    assert cpu_s >= 0.19
    assert wall_s >= 0.19
    assert printed == "done\n"


def test_every_system_does_the_steps_asked_for(pretrain, tmp_path):
    given = pretrain.arguments(["--images=700", "--batch-size=256", "--epochs=3", "--peer-epochs=2"])
    ours = pretrain.our_command(given, tmp_path / "images.npz", tmp_path)
    peer = pretrain.peer_command(given, pretrain.PEERS["original"], tmp_path / "images.npz")
    assert pretrain.steps(given, given.epochs) == 6
    assert {"stage.epochs=3", "stage.batch_size=256", "augmentation=novel", "encoder=resnet18"} <= set(ours)
    assert {"--steps=4", "--batch-size=256", "--augmentation=novel", "--encoder=resnet18"} <= set(peer)


def test_our_command_composes(pretrain, composed, cells, tmp_path):
    given = pretrain.arguments(["--batch-size=16", "--images=40"])
    cfg = composed(*pretrain.our_command(given, cells, tmp_path)[3:])
    assert (cfg.stage.batch_size, cfg.dataset.path, cfg.logger.name) == (16, str(cells), "none")


class Ticks:
    """A clock that goes on by what the test says."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_stopwatch_charges_nested_parts_once(bench):
    now = Ticks()
    watch = bench.parts.Stopwatch(now, "rest", frozenset({"look"}))
    now.time += 1  # rest
    with watch.timed("outer"):
        now.time += 2
        with watch.timed("inner"):
            now.time += 4
        now.time += 8  # outer again
    with watch.timed("look"):
        now.time += 16
        watch.timing("inner", lambda: setattr(now, "time", now.time + 32))()
    assert watch.lap() == {"rest": 1, "outer": 10, "inner": 4, "look": 48}
    now.time += 3
    assert watch.lap() == {"rest": 3}


def test_shares_leave_out_the_first_and_the_last_epoch(bench):
    parts = bench.parts
    one = {parts.LOAD: 1.0, parts.AUGMENT: 3.0, parts.BACKWARD: 6.0, parts.SAVING: 50.0}
    other = {parts.LOAD: 2.0, parts.BACKWARD: 8.0}
    found = parts.shares({"epochs": [{parts.LOAD: 99.0}, one, other, {parts.LOAD: 99.0}], "steps": 2})
    assert found[parts.LOAD]["ms"] == {"min": 500.0, "median": 750.0, "max": 1000.0}
    assert found["load and augment"]["share"] == {"min": 20.0, "median": 30.0, "max": 40.0}
    assert found["the whole step"]["ms"]["median"] == 5000.0


def test_overheads_are_of_epochs_and_of_all(bench):
    found = bench.overhead.overheads({"stage": [1.1, 1.02, 9.0, 1.05, 3.0], "bare": [1.0, 1.0, 10.0, 1.0, 1.0]})
    assert found["epoch"] == pytest.approx({"min": -10.0, "median": 3.5, "max": 10.0})
    assert found["all"]["median"] == pytest.approx(100 * ((4 * 1.075 + 3.0) / 5 - 1))  # the slow moment does not count


def test_import_times_are_summed_by_package(bench):
    printed = """import time: self [us] | cumulative | imported package
import time:    500000 |     500000 |   torch._dynamo.utils
import time:    250000 |     750000 |   torch._dynamo
import time:     62500 |     812500 | torchvision.ops
import time:      1000 |       1000 | zipimport
a line of the command's own"""
    assert bench.imports.by_package(printed) == {"torch._dynamo": 0.75, "torchvision": 0.0625, "zipimport": 0.001}


def test_memory_that_is_not_told_is_not_measured(bench):
    run = {"rates": [1.0, 2.0], "anonymous": None, "seconds": {"Python itself": 1.0, bench.data_sizes.FIRST_STEP: 2.0}}
    made = bench.data_sizes.table({"1,000": [run]})
    cells = list(made.columns[1].cells)
    assert cells[:3] == ["2.0", "not measured", "2"]
    assert cells[3:] == ["1.00", "2.00", "3.00"]
    assert bench.data_sizes.to_first_step(run["seconds"] | {"after": 9.0}) == 3.0


def test_bounds_are_judged_as_measured(bench):
    report = {
        "peers": {"ratios": {"original": {"step": {"median": 4.4}}}},
        "parts": {"shares": {"load and augment": {"share": {"median": 8.0}}}},
        "overhead": {"percent": {"all": {"median": 5.1}}},
    }
    assert [kept for _, _, _, kept in bench.verdicts(report)] == [False, True, False]
    assert bench.verdicts({}) == []


def test_figures_of_a_busy_machine_are_in_doubt(bench, monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    monkeypatch.setattr(sys.modules["machine"], "STAT", stat)
    monkeypatch.setattr(sys.modules["machine"], "_own_s", lambda: 5.0)
    tick = os.sysconf("SC_CLK_TCK")
    assert bench.Others().cores() is None
    stat.write_text("cpu  0 0 0 900 900 0 0 0 0 0\ncpu0 0\n")
    others = bench.Others()
    stat.write_text(f"cpu  {10**6 * tick} 0 0 900 900 0 0 0 0 0\ncpu0 0\n")
    assert others.cores() > 1
    report = {"overhead": {"percent": {"all": {"median": 1.0}}}, "others": {"overhead": 0.3, "sizes": None}}
    assert "0.30 cores busy" in bench.summary(report).caption
    assert bench.summary(report | {"others": {"overhead": 0.05}}).caption is None


def test_sweeps_compose(bench, composed, tmp_path):
    for sweep in bench.scaling.sweeps(tmp_path, 16, "tiny", (28, 32), (16, 32), ("tiny", "resnet18")):
        for value in sweep.values:
            cfg = composed("dataset=npz", f"{sweep.key}={value}", *sweep.words)
            assert Path(cfg.dataset.path).exists()


def test_more_images_than_a_block_are_drawn(pretrain, tmp_path):
    pretrain.write_data(tmp_path / "images.npz", None, 4100, 8, held_out=5)
    with np.load(tmp_path / "images.npz") as file:
        assert file["train_images"].shape == (4100, 8, 8, 3)
        assert file["test_labels"].shape == (5, 1)
        assert file["train_images"][4096:].std() > 10


@pytest.mark.process
def test_bench_measures_the_real_command(tmp_path):
    words = ["--only", "parts", "overhead", "sizes", "--encoder=tiny", "--batch-size=16", "--images=48", "--sizes=40"]
    out, script = tmp_path / "report.json", ROOT / "benchmarks" / "bench.py"
    done = subprocess.run(
        [sys.executable, str(script), *words, f"--json={out}"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert all(found["ms"]["min"] > 0 for found in report["parts"]["shares"].values())
    assert "a look at the validation split" in report["parts"]["epochs"][-1]
    assert len(report["overhead"]["stage"]) == len(report["overhead"]["bare"]) == 10
    assert report["overhead"]["apart"] == 0  # the bare loop did the very same training
    (run,) = report["sizes"]["40"]
    assert next(iter(run["seconds"])) == "Python itself"
    assert all(seconds >= 0 for seconds in run["seconds"].values())
    assert len(run["rates"]) == 4


@pytest.mark.process
def test_a_sweep_tells_the_rates_of_every_cell(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _, batches, _ = bench.scaling.sweeps(tmp_path, 16, "tiny", (28,), (16, 32), ("tiny",))
    rates = bench.scaling.measure(batches, 2, tmp_path)
    assert list(rates) == ["16", "32"]
    assert all(len(values) == 4 and min(values) > 0 for values in rates.values())  # two rounds, the first epochs out
