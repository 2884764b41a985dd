"""The benchmarks: the alternatives do the work they represent, and the figures are computed correctly. No timing."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
SEQUENCES = ("natural", "simple", "novel", "greyscale")


def import_script(name: str) -> Iterator[ModuleType]:
    """Import a script of benchmarks/ as a module and remove it afterwards, because its name is not unique."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        before = set(sys.modules)
        yield __import__(name)
        for added in {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - before:
            sys.modules.pop(added, None)


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_script_imports_from_the_package_exists(script: Path) -> None:
    """Also what its functions import, since most of them run only in a measurement."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("simclr_med"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                found = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                assert found, f"{node.module} has no {alias.name}"


@pytest.fixture(scope="module")
def original() -> Iterator[ModuleType]:
    yield from import_script("original")


@pytest.fixture(scope="module")
def pretrain() -> Iterator[ModuleType]:
    yield from import_script("pretrain")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    yield from import_script("bench")


@pytest.fixture(scope="module")
def page_tables() -> Iterator[ModuleType]:
    yield from import_script("page_tables")


@pytest.fixture(scope="module")
def results() -> Iterator[ModuleType]:
    yield from import_script("results")


@pytest.fixture(scope="module")
def compare_recipes() -> Iterator[ModuleType]:
    yield from import_script("compare_recipes")


@pytest.fixture(scope="module")
def large_sets() -> Iterator[ModuleType]:
    yield from import_script("large_sets")


@pytest.fixture(scope="module")
def lightly_peer() -> Iterator[ModuleType]:
    pytest.importorskip("lightly", reason="the extra bench is not installed")
    yield from import_script("lightly_peer")


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8))


@pytest.mark.parametrize("augmentation", SEQUENCES)
def test_original_views_are_normalised_tensors_that_differ(original, image, augmentation):
    views = original.TwoViews(original.build_view_transform(augmentation, 28))
    torch.manual_seed(0)
    one, two = views(image)
    assert one.shape == two.shape == (3, 28, 28)
    assert one.dtype == torch.float32
    assert not torch.equal(one, two)
    black, _ = views(Image.new("RGB", (28, 28)))  # black for all random parameters
    assert torch.equal(black, torch.full((3, 28, 28), -1.0))


def test_original_loss_is_nt_xent(original):
    projections = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unit = projections / projections.norm(dim=1, keepdim=True)
    expected = 0.0
    for i in range(8):
        others = [float(unit[i] @ unit[k]) / 0.07 for k in range(8) if k != i]
        expected += float(np.log(np.sum(np.exp(others)))) - float(unit[i] @ unit[(i + 4) % 8]) / 0.07
    assert float(original.nt_xent_by_broadcast(projections)) == pytest.approx(expected / 8, rel=1e-9)


def test_original_network_has_the_projection_head_of_the_thesis(original):
    head = original.build_network("resnet18").fc
    assert [tuple(weights.shape) for weights in head.parameters()] == [(512, 512), (512,), (128, 512), (128,)]


def test_training_steps_continue_over_epochs(original, cells):
    given = original.parse_arguments(
        [str(cells), "--batch-size=16", "--steps=3", "--workers=0", "--augmentation=simple"]
    )
    loader = original.build_loader(given, lambda side: original.TwoViews(original.build_view_transform("simple", side)))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 4))
    start = model[1].weight.detach().clone()
    report = original.train(
        loader,
        model,
        lambda net, a, b: original.nt_xent_by_broadcast(net(torch.cat((a, b)))),
        given.steps,
        given.warmup,
    )
    assert len(loader) == 2  # 40 images: the third step is in the second epoch
    assert (report["steps"], report["images_trained"]) == (3, 48)
    assert report["images_per_s"] == pytest.approx(16 / report["seconds_per_step"])
    assert not torch.equal(start, model[1].weight)


def test_warmup_of_all_steps_is_an_error(original, capsys):
    with pytest.raises(SystemExit):
        original.parse_arguments(["data.npz", "--steps=2", "--warmup=2"])
    assert "expected at least 0 and less than --steps=2" in capsys.readouterr().err


@pytest.mark.parametrize("augmentation", SEQUENCES)
def test_lightly_makes_views_of_every_sequence(lightly_peer, image, augmentation):
    one, two = lightly_peer.build_view_transform(augmentation, 28)(image)
    assert one.shape == two.shape == (3, 28, 28)
    black, _ = lightly_peer.build_view_transform(augmentation, 28)(Image.new("RGB", (28, 28)))
    assert torch.equal(black, torch.full((3, 28, 28), -1.0))


def test_lightly_trains_the_same_network(lightly_peer, original):
    theirs, ours = lightly_peer.build_network("resnet18"), original.build_network("resnet18")
    assert [p.shape for p in theirs.parameters()] == [p.shape for p in ours.parameters()]


@pytest.mark.parametrize("labelled", [True, False])
def test_benchmark_data_has_the_given_size(pretrain, cells, tmp_path, labelled):
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


def test_ratios_are_computed_within_a_round(pretrain):
    def measured(system: str, whole: float, step: float):
        return pretrain.Measured(system, wall_s=1.0, cpu_s=2.0, images=10, whole=whole, step=step, cpu=5.0)

    rounds = [
        [measured("simclr-med", 10.0, 100.0), measured("original", 2.0, 50.0)],
        [measured("simclr-med", 20.0, 200.0), measured("original", 2.0, 20.0)],
        [measured("simclr-med", 30.0, 90.0), measured("original", 10.0, 30.0)],
    ]
    assert pretrain.compute_rates(rounds)["simclr-med"]["whole"] == {"min": 10.0, "median": 20.0, "max": 30.0}
    found = pretrain.compute_ratios(rounds)["original"]
    assert found["whole"] == {"min": 3.0, "median": 5.0, "max": 10.0}
    assert found["step"] == {"min": 2.0, "median": 3.0, "max": 10.0}


def test_failed_process_is_reported_with_its_output(pretrain, tmp_path):
    with pytest.raises(SystemExit, match=r"failed with 3:\nno such thing"):
        pretrain.time_process([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], tmp_path)


def test_cpu_time_of_the_process(pretrain, tmp_path):
    busy = "import time\nwhile time.process_time() < 0.2: pass\nprint('done')"
    wall_s, cpu_s, printed = pretrain.time_process([sys.executable, "-c", busy], tmp_path)
    assert cpu_s >= 0.19
    assert wall_s >= 0.19
    assert printed == "done\n"


def test_every_system_trains_for_the_given_steps(pretrain, tmp_path):
    given = pretrain.parse_arguments(["--images=700", "--batch-size=256", "--epochs=3", "--peer-epochs=2"])
    ours = pretrain.build_our_command(given, "auto", tmp_path / "images.npz", tmp_path)
    peer = pretrain.build_peer_command(given, "lightly, bf16", tmp_path / "images.npz")
    assert pretrain.count_steps(given, given.epochs) == 6
    assert {"stage.epochs=3", "stage.batch_size=256", "augmentation=novel", "encoder=resnet18"} <= set(ours)
    assert {"--steps=4", "--batch-size=256", "--augmentation=novel", "--encoder=resnet18", "--bf16"} <= set(peer)


def test_our_command_composes(pretrain, composed, cells, tmp_path):
    given = pretrain.parse_arguments(["--batch-size=16", "--images=40"])
    cfg = composed(*pretrain.build_our_command(given, "32-true", cells, tmp_path)[3:])
    assert (cfg.stage.batch_size, cfg.dataset.path, cfg.logger.name) == (16, str(cells), "none")
    assert cfg.trainer.precision == "32-true"


class FakeClock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_stopwatch_charges_nested_parts_once(bench):
    now = FakeClock()
    watch = bench.parts.Stopwatch(now, "rest", frozenset({"validation"}))
    now.time += 1  # rest
    with watch.timed("outer"):
        now.time += 2
        with watch.timed("inner"):
            now.time += 4
        now.time += 8  # outer again
    with watch.timed("validation"):
        now.time += 16
        watch.wrap("inner", lambda: setattr(now, "time", now.time + 32))()
    assert watch.lap() == {"rest": 1, "outer": 10, "inner": 4, "validation": 48}
    now.time += 3
    assert watch.lap() == {"rest": 3}


def test_shares_exclude_the_first_and_the_last_epoch(bench):
    parts = bench.parts
    one = {parts.LOAD: 1.0, parts.AUGMENT: 3.0, parts.BACKWARD: 6.0, parts.SAVING: 50.0}
    other = {parts.LOAD: 2.0, parts.BACKWARD: 8.0}
    found = parts.compute_shares({"epochs": [{parts.LOAD: 99.0}, one, other, {parts.LOAD: 99.0}], "steps": 2})
    assert found[parts.LOAD]["ms"] == {"min": 500.0, "median": 750.0, "max": 1000.0}
    assert found["load and augment"]["share"] == {"min": 20.0, "median": 30.0, "max": 40.0}
    assert found["whole step"]["ms"]["median"] == 5000.0


def test_overhead_of_epochs_and_of_all(bench):
    found = bench.overhead.compute_overhead({"stage": [1.1, 1.02, 9.0, 1.05, 3.0], "bare": [1.0, 1.0, 10.0, 1.0, 1.0]})
    assert found["epoch"] == pytest.approx({"min": -10.0, "median": 3.5, "max": 10.0})
    assert found["all"]["median"] == pytest.approx(100 * ((4 * 1.075 + 3.0) / 5 - 1))  # the slow phase does not count


def test_import_times_are_summed_by_package(bench):
    printed = """import time: self [us] | cumulative | imported package
import time:    500000 |     500000 |   torch._dynamo.utils
import time:    250000 |     750000 |   torch._dynamo
import time:     62500 |     812500 | torchvision.ops
import time:      1000 |       1000 | zipimport
a line of the command's own"""
    assert bench.imports.sum_by_package(printed) == {"torch._dynamo": 0.75, "torchvision": 0.0625, "zipimport": 0.001}


def test_unavailable_memory_is_not_measured(bench):
    run = {"rates": [1.0, 2.0], "anonymous": None, "seconds": {"Python itself": 1.0, bench.data_sizes.FIRST_STEP: 2.0}}
    table = bench.data_sizes.build_table({"1,000": [run]})
    cells = list(table.columns[1].cells)
    assert cells[:3] == ["2.0", "not measured", "2"]
    assert cells[3:] == ["1.00", "2.00", "3.00"]
    assert bench.data_sizes.sum_to_first_step(run["seconds"] | {"after": 9.0}) == 3.0


def test_bounds_are_checked(bench):
    report = {
        "peers": {"ratios": {"original": {"step": {"median": 4.4}}}},
        "parts": {"shares": {"load and augment": {"share": {"median": 8.0}}}},
        "overhead": {"percent": {"all": {"median": 5.1}}},
    }
    assert [is_met for _, _, _, is_met in bench.check_bounds(report)] == [False, True, False]
    assert bench.check_bounds({}) == []


def test_busy_machine_is_reported(bench, monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    monkeypatch.setattr(sys.modules["machine"], "STAT", stat)
    monkeypatch.setattr(sys.modules["machine"], "_read_own_s", lambda: 5.0)
    tick = os.sysconf("SC_CLK_TCK")
    assert bench.OtherLoad().cores() is None
    stat.write_text("cpu  0 0 0 900 900 0 0 0 0 0\ncpu0 0\n")
    others = bench.OtherLoad()
    stat.write_text(f"cpu  {10**6 * tick} 0 0 900 900 0 0 0 0 0\ncpu0 0\n")
    assert others.cores() > 1
    report = {"overhead": {"percent": {"all": {"median": 1.0}}}, "others": {"overhead": 0.3, "sizes": None}}
    assert "up to 0.30 cores" in bench.build_summary(report).caption
    assert bench.build_summary(report | {"others": {"overhead": 0.05}}).caption is None


def test_sweeps_compose(bench, composed, tmp_path):
    for sweep in bench.scaling.build_sweeps(tmp_path, 16, "tiny", (28, 32), (16, 32), ("tiny", "resnet18")):
        for value in sweep.values:
            cfg = composed("dataset=npz", f"{sweep.key}={value}", *sweep.overrides)
            assert Path(cfg.dataset.path).exists()


def test_random_images_of_several_blocks(pretrain, tmp_path):
    pretrain.write_data(tmp_path / "images.npz", None, 4100, 8, held_out=5)
    with np.load(tmp_path / "images.npz") as file:
        assert file["train_images"].shape == (4100, 8, 8, 3)
        assert file["test_labels"].shape == (5, 1)
        assert file["train_images"][4096:].std() > 10


def test_tables_of_the_pages_are_those_of_the_results(page_tables):
    results = page_tables.read_results()
    for page in page_tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert page_tables.render_page(text, results) == text, "run `make bench-tables`"


def test_every_table_is_on_a_page_and_without_typed_figures(page_tables):
    pages = {page.name: page.read_text(encoding="utf-8") for page in page_tables.PAGES}
    assert set(page_tables.BLOCKS) == {name for _, name, _ in page_tables.BLOCK.findall("".join(pages.values()))}
    typed, _, _ = page_tables.BLOCK.sub("", pages["speed.md"]).partition("## On a GPU")
    assert "images/s" not in typed
    typed += page_tables.BLOCK.sub("", pages["results.md"])
    assert "\n|" not in typed


def test_table_has_the_figures_of_the_results(page_tables):
    page = "before\n<!-- table: peers -->\nold\n<!-- /table -->\n<!-- table: parts -->\nold\n<!-- /table -->\nafter\n"
    spread = {"min": 1.0, "median": 2.4, "max": 3.0}
    peers = {"rates": {"simclr-med": {"step": spread, "whole": spread}}, "ratios": {}}
    found = page_tables.render_page(page, {"cpu": {"peers": peers}})
    assert "| `simclr-med` | 2 (1-3) | 2 (1-3) |  |  |\n<!-- /table -->" in found
    assert "old" not in found
    assert page_tables.NOT_MEASURED in found
    assert page_tables.render_page(found, {"cpu": {"peers": peers}}) == found


def test_page_says_that_the_machine_was_busy(page_tables):
    page = "<!-- table: machine -->\n<!-- /table -->\n"
    quiet = {"machine": {"cpu": "a", "cores": 2, "instructions": "b"}, "versions": {}, "others": {"peers": 0.05}}
    assert "busy" not in page_tables.render_page(page, {"cpu": quiet})
    assert "busy" in page_tables.render_page(page, {"cpu": quiet | {"others": {"peers": 0.05, "sizes": 0.2}}})


def test_results_are_those_of_the_reports_tables(results, page_tables, tmp_path):
    row = "cells,resnet18,{method},n100,50,15,0.8,{low},0.85,15,3 encoders x 5 seeds,\n"
    head = "data,encoder,method,budget,images,runs," + ",".join(
        f"test/auroc {name}" for name in ("mean", "low", "high", "runs", "population", "values")
    )
    scores = row.format(method="probe", low=0.7) + row.format(method="untrained control", low="")
    (tmp_path / "label_efficiency_auroc.csv").write_text(f"{head}\n{scores}")
    columns = "data,encoder,budget,a,b,verdict,auroc_difference,low,high,level,runs"
    pairs = "cells,resnet18,n100,probe,untrained control,better,0.1,0.02,0.18,0.99,3 encoders x 5 seeds\n"
    (tmp_path / "comparisons.csv").write_text(f"{columns}\n{pairs}")
    (tmp_path / "cost.csv").write_text("stage,data,encoder,runs,hours\npretrain,cells,resnet18,3,1.25\n")
    found = {"results": results.collect_results(tmp_path)}
    page = "".join(
        f"<!-- table: results_{name} -->\n<!-- /table -->\n" for name in ("scores", "comparisons", "summary")
    )
    text = page_tables.render_page(page, {"results": found})
    assert "| cells | probe | 80.0 (70.0 to 85.0) |" in text
    assert "| cells | untrained control | 80.0 |" in text
    compared = "| cells | n100 | probe | untrained control | +10.0 (+2.0 to +18.0) | better | 3 encoders x 5 seeds |"
    assert compared in text
    assert "| cells | 80.0 | 80.0 (70.0 to 85.0) | +10.0 (+2.0 to +18.0), better |" in text


def test_twins_and_published_results_are_those_of_the_report(results, page_tables, tmp_path):
    scores = ["data,encoder,method,budget,test/auroc mean,test/auroc low,test/auroc high,test/auroc population"]
    scores += ["cells,resnet14,probe,full,0.89,0.8,0.95,3 seeds"]
    tables = {
        "label_efficiency_auroc": scores,
        "comparisons": [",".join(results.COMPARISON)],
        "cost": [",".join(results.COST)],
        "without_twins": [
            ",".join(results.TWINS),
            "cells,probe,n50,0.8,0.7,0.9,0.75,0.6,0.85",
            "scans,probe,n50,0.8,0.7,0.9,0.801,0.6,0.85",
        ],
        "published": [
            ",".join(results.PUBLISHED),
            "cells,A 2023,ResNet-18,full,0.901,probe,0.88",
            "cells,A 2023,ResNet-50,full,0.8,,",
            "cells,B 2024,kNN,full,,,",
        ],
    }
    for name, lines in tables.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    found = {"results": {"results": results.collect_results(tmp_path)}}
    page = "<!-- table: results_{} -->\n<!-- /table -->\n"
    twins = page_tables.render_page(page.format("twins"), found)
    assert "| cells | probe | n50 | 80.0 (70.0 to 90.0) | 75.0 (60.0 to 85.0) |" in twins
    assert "scans" not in twins  # they hardly change
    published = page_tables.render_page(page.format("published"), found)
    assert "| cells | A 2023 | ResNet-18 | full | 90.1 | probe | 89.0 (80.0 to 95.0) | 88.0 |" in published
    assert "| cells | A 2023 | ResNet-50 | full | 80.0 |  |  |  |" in published
    assert "B 2024" not in published


def test_stems_lengths_options_and_long_recipes_are_tables(page_tables):
    stem = {
        "size": 28,
        "encoder": "resnet14",
        "images_per_s": 597.4,
        "epochs": 36,
        "sets": {"cells": 0.8, "scans": 0.75},
    }
    length = {"data": "cells", "budget": "n50", "auroc": {"default": [0.7, 0.8], "400 epochs": [0.9]}}
    recipe = {
        "size": 64,
        "augmentation": "novel",
        "lr": "5e-4",
        "temperature": 0.07,
        "encoder": "resnet18",
        "epochs": 200,
    }
    found = {"recipe": {"stems": [stem], "lengths": [length], "long": [recipe | {"sets": {"cells": 0.812}}]}}
    option = {"budget": "n100", "method": "finetune", "options": "a=1", "sets": {"scans": [0.7, 0.8], "cells": [0.6]}}
    other = {"budget": "n250", "method": "probe", "options": "", "sets": {"cells": [0.5]}}
    found["recipe"] |= {"options": [option, other]}
    names = ("stems", "lengths", "options", "long")
    page = "".join(f"<!-- table: results_{name} -->\n<!-- /table -->\n" for name in names)
    text = page_tables.render_page(page, found)
    assert "| 28 | resnet14 | 597 | 36 | 80.0 | 75.0 |" in text
    assert "| cells | n50 | 75.0 (70.0, 80.0) | 90.0 (90.0) |" in text
    assert "| n100 | finetune | a=1 | 75.0 (70.0, 80.0) | 60.0 (60.0) |" in text
    assert "| n250 | probe |  |  | 50.0 (50.0) |" in text
    assert "| 64 | novel | 5e-4 | 0.07 | resnet18 | 200 | 81.2 |" in text


def test_settings_name_the_gpu(page_tables):
    machine = {"cpu": "a", "cores": 16, "instructions": "b", "gpu": "c"}
    report = {"machine": machine, "versions": dict.fromkeys(("python", "torch", "lightning"), "1")}
    report |= {"settings": {"study": ["x"], "overrides": []}, "results": {"cost": [{"hours": 1.25}]}}
    page = "<!-- table: results_settings -->\n<!-- /table -->\n"
    assert "- c, a, 16 cores, b, python 1" in page_tables.render_page(page, {"results": report})
    report["machine"] = machine | {"gpu": "none"}
    assert "- a, 16 cores, b, python 1" in page_tables.render_page(page, {"results": report})


def test_probes_of_two_encoders_stand_beside_one_control(compare_recipes):
    kinds = ["probe", "control", "probe", "control", "baseline"]
    encoders = ["resnet14", "resnet14", "resnet18", "resnet18", "resnet18"]
    rows = pd.DataFrame({"method": kinds, "kind": kinds, "encoder": encoders})
    joined = compare_recipes.join_encoders(rows, "resnet14")
    assert list(joined["method"]) == ["probe, resnet14", "control, resnet14", "probe, resnet18"]
    assert set(joined["encoder"]) == {"all"}
    assert list(rows["method"]) == kinds


@pytest.mark.parametrize("channels", [1, 3])
def test_large_sets_have_the_given_sizes(large_sets, tmp_path, channels):
    large_sets.write_npz(tmp_path / "images.npz", 4100, 8, channels)
    with np.load(tmp_path / "images.npz") as file:
        assert file["train_images"].shape == (4100, 8, 8, channels)
        assert file["val_labels"].shape == (large_sets.HELD_OUT, 1)
        assert not np.array_equal(file["train_images"][0], file["train_images"][4096])
    large_sets.write_folder(tmp_path / "folder", 20, 8, channels)
    files = sorted((tmp_path / "folder").rglob("*.png"))
    assert len(files) == 20
    assert len({file.parent for file in files}) == large_sets.CLASSES
    assert Image.open(files[0]).mode == ("L" if channels == 1 else "RGB")


def test_memory_of_child_processes_is_watched(large_sets):
    memory = sys.modules["memory"]
    if memory.read_memory(os.getpid()) == (0, 0):
        pytest.skip("requires /proc (Linux)")
    hold = "import time; kept = bytearray(b'x' * (64 << 20)); time.sleep(1)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with memory.MemoryWatch() as watch:
        subprocess.run([sys.executable, "-c", child], check=True)
    assert 64 << 20 < watch.peaks.largest < 512 << 20
    assert watch.peaks.together > watch.peaks.largest


def test_copied_run_is_another_run_that_the_report_reads(bench, tmp_path):
    from run_folders import write

    from simclr_med.report.results import read_result
    from simclr_med.runs.file_hashes import verify_files

    template = write(tmp_path / "template", "probe", seed=3)
    copies = [bench.evaluation.copy_run(template, tmp_path / "runs", seed) for seed in (1, 2)]
    results = [read_result(copy) for copy in copies]
    assert [result.seed for result in results] == [3001, 3002]
    assert [copy.parents[2] for copy in copies] == [tmp_path / "runs"] * 2
    assert results[0].metrics == read_result(template).metrics
    assert verify_files(copies[0], "config.yaml", "predictions.npz") is None


@pytest.mark.process
def test_bench_measures_the_real_command(tmp_path):
    argv = ["--only", "parts", "overhead", "sizes", "--encoder=tiny", "--batch-size=16", "--images=48", "--sizes=40"]
    out, script = tmp_path / "report.json", ROOT / "benchmarks" / "bench.py"
    done = subprocess.run(
        [sys.executable, str(script), *argv, f"--json={out}"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert all(found["ms"]["min"] > 0 for found in report["parts"]["shares"].values())
    assert "validation" in report["parts"]["epochs"][-1]
    assert len(report["overhead"]["stage"]) == len(report["overhead"]["bare"]) == 10
    assert report["overhead"]["apart"] == 0  # the bare loop did the same training
    (run,) = report["sizes"]["40"]
    assert next(iter(run["seconds"])) == "Python itself"
    assert all(seconds >= 0 for seconds in run["seconds"].values())
    assert len(run["rates"]) == 4


@pytest.mark.process
def test_sweep_has_the_rates_of_every_job(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _, batches, _ = bench.scaling.build_sweeps(tmp_path, 16, "tiny", (28,), (16, 32), ("tiny",))
    rates = bench.scaling.measure(batches, 2, tmp_path)
    assert list(rates) == ["16", "32"]
    assert all(len(values) == 4 and min(values) > 0 for values in rates.values())  # two rounds, the first epochs out
