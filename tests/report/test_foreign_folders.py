"""A report with any folder of others among its runs is finished, and names that folder with the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from foreign_folders import CURVE_DAMAGES, DAMAGES, MORE_DAMAGES, change_result
from run_folders import pretrained, write

from simclr_med.report.collect import collect_runs, find_run_folders
from simclr_med.report.prediction_files import read_predictions
from simclr_med.report.result_tables import MOST_IN_SQUARE
from simclr_med.report.results import DamagedRunError, read_result, read_tables
from simclr_med.report.sections import build_content

Add = Callable[..., Path]
REPORT = """
import json, sys
from pathlib import Path
from simclr_med.report.collect import collect_runs
from simclr_med.report.write import write_report
_, content = write_report(collect_runs(Path(sys.argv[1])), Path(sys.argv[2]))
sections = content.sections
print(json.dumps([sentence for section in sections if section.key == "gaps" for sentence in section.sentences]))
# Unlike getrusage, this peak leaves out the process that started this one.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_a_report_with_every_damage_is_finished(add: Add, runs: Path, tmp_path: Path) -> None:
    """In a process of its own, so that its peak of memory is that of the report."""
    for seed in (0, 1):
        add("probe", seed=seed)
        add("probe", seed=seed, init=pretrained())
    folders = {name: add("probe", seed=100 + number) for number, name in enumerate(DAMAGES | MORE_DAMAGES)}
    for name, folder in folders.items():
        (DAMAGES | MORE_DAMAGES)[name][0](folder)
    for number, damage in enumerate(CURVE_DAMAGES.values()):
        damage(add("pretrain", seed=number, budget="full"))
    command = [sys.executable, "-c", REPORT, str(runs), str(tmp_path / "report")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *_, found, peak_kib = done.stdout.splitlines()
    sentences = json.loads(found)
    for name, folder in folders.items():
        reason = (DAMAGES | MORE_DAMAGES)[name][1]
        assert not reason or any(f"{folder}/{reason}" in sentence for sentence in sentences), name
    assert all(sentence.isprintable() for sentence in sentences)
    assert sum("metrics.csv: " in sentence for sentence in sentences) >= 4
    assert "\x1b" not in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert int(peak_kib) < 1 << 20


def test_other_classes_than_the_other_runs(add: Add, runs: Path) -> None:
    for seed in (0, 1):
        add("probe", seed=seed)
    odd = add("probe", seed=2, classes=("red", "green"))
    sections = {section.key: section for section in build_content(collect_runs(runs)).sections}
    assert any(str(odd) in sentence and "2 names" in sentence for sentence in sections["gaps"].sentences)
    assert [chart.name for chart in sections["classes"].charts] == ["confusion_cells_tiny"]


def test_as_many_classes_as_can_be_shown(add: Add) -> None:
    folder = add("probe")
    for count, is_read in ((MOST_IN_SQUARE, True), (MOST_IN_SQUARE + 1, False)):
        matrix = np.eye(count, dtype=int).tolist()
        tables = {"classes": [str(k) for k in range(count)], "confusion_matrix": matrix}
        change_result(folder, lambda found, tables=tables: found.update(tables=tables))
        if is_read:
            assert read_tables(folder).confusion_matrix.sum() == count
        else:
            with pytest.raises(DamagedRunError, match=f"{count} names: expected at most {MOST_IN_SQUARE}"):
                read_tables(folder)


@pytest.fixture
def closed(runs: Path) -> Iterator[Callable[[Path], Path]]:
    """Make a folder unreadable; root can read any folder, so that a link to itself stands in for it."""
    folders: list[Path] = []

    def close(folder: Path) -> Path:
        if os.geteuid() == 0:
            folder.rename(folder.with_name(f".{folder.name}"))
            folder.symlink_to(folder.name)
        else:
            folder.chmod(0)
            folders.append(folder)
        return folder

    yield close
    for folder in folders:
        folder.chmod(0o700)


def test_unreadable_folders_are_listed(add: Add, runs: Path, closed: Callable[[Path], Path]) -> None:
    add("probe", seed=0)
    one = closed(add("probe", seed=1))
    many = closed(add("baseline").parent)
    assert {one, many} <= set(find_run_folders(runs))
    damaged = collect_runs(runs).damaged
    assert len(damaged) == 2
    assert all(any(str(folder) in line for line in damaged) for folder in (one, many))


def test_folder_names_with_terminal_commands(runs: Path) -> None:
    folder = write(runs, "probe")
    folder.rename(folder.with_name("a\x1b[2J\udc80"))
    write(runs, "probe", seed=1)
    (line,) = collect_runs(runs).damaged
    assert "a\\x1b[2J\\udc80: the folder's name has control characters" in line


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update(probabilities=a["probabilities"].astype(np.float32) * np.nan), "probabilities from 0 to 1"),
        (lambda a: a.update(probabilities=a["probabilities"] + 1), "probabilities from 0 to 1"),
        (lambda a: a.update(labels=a["labels"] - 1), "labels from 0 to 2"),
        (lambda a: a.update(labels=a["labels"] + 1), "labels from 0 to 2"),
        (lambda a: a.update(labels=a["labels"][:0], probabilities=a["probabilities"][:0]), "expected integer labels"),
        (lambda a: a.update(labels=a["labels"].astype("M8[s]")), "labels is of type"),
    ],
)
def test_predictions_out_of_range(add: Add, change: Callable[[dict[str, np.ndarray]], None], reason: str) -> None:
    path = add("probe") / "predictions.npz"
    with np.load(path) as content:
        arrays = dict(content)
    change(arrays)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=reason):
        read_predictions(path)


def test_compressed_and_endless_archives(add: Add) -> None:
    path = add("probe") / "predictions.npz"
    with np.load(path) as content:
        np.savez_compressed(path, **dict(content))
    with pytest.raises(ValueError, match="labels is compressed"):
        read_predictions(path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_000):
            archive.writestr(str(number), b"")
    with pytest.raises(ValueError, match="more than 16 arrays"):
        read_predictions(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"as numpy\.savez writes it"):
        read_predictions(path)


def test_every_cut_of_predictions_is_refused(add: Add) -> None:
    path = add("probe") / "predictions.npz"
    content = path.read_bytes()
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="cannot read labels and probabilities"):
            read_predictions(path)


def test_a_failure_message_of_another_type(add: Add) -> None:
    folder = add("baseline", state="failed")
    for message, shown in (("a\x1b[2J\nb", "a\\x1b[2J"), (["a"], "failure.json cannot be read")):
        (folder / "failure.json").write_text(json.dumps({"message": message}))
        assert read_result(folder).message == shown
