"""Run folders that a stranger may have made: each function damages a finished run in its own way.

`DAMAGES` names them, with a part of the reason that the report gives.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

GIB = 1 << 30


def change_result(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of result.json in place."""
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of config.yaml in place."""
    content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    change(content)
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def _replace(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")

    return damage


def _append(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    return damage


def _config(key: str, value: Any) -> Callable[[Path], None]:
    group, _, last = key.rpartition(".")
    return lambda folder: change_config(folder, lambda found: (found[group] if group else found).update({last: value}))


def _result(key: str, value: Any) -> Callable[[Path], None]:
    group, _, last = key.rpartition(":")
    return lambda folder: change_result(folder, lambda found: (found[group] if group else found).update({last: value}))


def _pipe(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def _link_to_itself(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(name)

    return damage


def _sparse(name: str, size: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return damage


def _giant_header(folder: Path) -> None:
    """Leave predictions.npz with arrays whose headers claim 800 TB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**14, 1)})
    with zipfile.ZipFile(folder / "predictions.npz", "w") as archive:
        archive.writestr("labels.npy", header.getvalue().replace(b"<f8", b"<i8"))
        archive.writestr("probabilities.npy", header.getvalue())


def _many_classes(folder: Path) -> None:
    """Leave 3,000 classes where the other runs of the method have a few."""
    tables = {"classes": [f"class {number}" for number in range(3000)], "confusion_matrix": "MATRIX"}
    change_result(folder, lambda found: found["tables"].update(tables))
    recalls = {f"test/recall/{number}": 0.5 for number in range(3000)}
    change_result(folder, lambda found: found["metrics"].update(recalls))
    row = f"[{','.join('0' * 3000)}]"
    text = (folder / "result.json").read_text(encoding="utf-8")
    (folder / "result.json").write_text(text.replace('"MATRIX"', f"[{','.join([row] * 3000)}]"), encoding="utf-8")


_DEEP_YAML = "x: " + "[" * 50_000 + "]" * 50_000
_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)

# Name -> (damage, a part of the reason in the report).
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "infinite seed": (_config("seed", float("inf")), "config.yaml: seed=inf"),
    "infinite protocol version": (_result("protocol_version", float("inf")), "result.json: protocol_version=inf"),
    "deep JSON": (_replace("result.json", "[" * 100_000), "result.json: nested too deeply"),
    "deep YAML": (_replace("config.yaml", _DEEP_YAML), "config.yaml: "),
    "YAML that holds itself": (_replace("config.yaml", "a: &a [*a]"), "config.yaml: anchors"),
    "alias bomb": (_append("config.yaml", _BOMB), "config.yaml: anchors"),
    "pipe as config.yaml": (_pipe("config.yaml"), "config.yaml: not a regular file"),
    "confusion counts of 1e30": (
        _result("tables:confusion_matrix", [[1e30] * 3] * 3),
        "result.json: tables.confusion_matrix",
    ),
    "3,000 classes": (_many_classes, "result.json: tables.classes"),
    "link to itself": (_link_to_itself("config.yaml"), "config.yaml: Too many levels of symbolic links"),
    "giant npz header": (_giant_header, "predictions.npz"),
}
MORE_DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe as result.json": (_pipe("result.json"), "result.json: not a regular file"),
    "pipe as failure.json": (_pipe("failure.json"), ""),
    "pipe as predictions.npz": (
        _pipe("predictions.npz"),
        "predictions.npz: cannot read labels and probabilities (not a",
    ),
    "pipe as metrics.csv": (_pipe("metrics.csv"), ""),
    "list as seed": (_config("seed", [1]), "config.yaml: seed="),
    "text as seed": (_config("seed", "one"), "config.yaml: seed="),
    "NaN as seed": (_config("seed", float("nan")), "config.yaml: seed=nan"),
    "huge seed": (_config("seed", 10**400), "config.yaml: a number of"),
    "text as group": (_config("dataset", "cells"), "config.yaml: dataset="),
    "reference": (_config("dataset.name", "${oc.env:HOME}"), "config.yaml: dataset.name="),
    "terminal escape": (_config("dataset.name", "\x1b[2Jcells"), "config.yaml: dataset.name="),
    "long name": (_config("dataset.name", "x" * 100_000), "config.yaml: dataset.name="),
    "surrogate": (_replace("result.json", '{"stage": "\\ud800"}'), "result.json: "),
    "list as metrics": (_result("metrics", [1]), "result.json: metrics="),
    "text as a score": (_result("metrics:test/accuracy", "good"), "result.json: metrics.test/accuracy="),
    "score above 1": (_result("metrics:test/accuracy", 7.0), "result.json: metrics.test/accuracy=7.0"),
    "metric over a column": (_result("metrics:folder", 1.0), "result.json: metrics.folder"),
    "many metrics": (
        lambda folder: change_result(folder, lambda r: r["metrics"].update({f"test/{n}": 0.1 for n in range(30_000)})),
        "result.json: metrics",
    ),
    "list as provenance": (_result("provenance", []), "result.json: provenance="),
    "number as init": (_result("provenance:init", 1), "result.json: provenance.init="),
    "list as timing": (_result("timing:wall_s", []), "result.json: timing.wall_s="),
    "negative time": (_result("timing:wall_s", -1), "result.json: timing.wall_s=-1"),
    "escapes in class names": (
        lambda folder: change_result(folder, lambda r: r["tables"].update(classes=["\x1b[2J", "<b>", "\ud800"])),
        "",
    ),
    "many small lists": (_replace("result.json", "[" + "[]," * 2_000_000 + "[]]"), "result.json: "),
    "many YAML items": (_replace("config.yaml", "[" + "1," * 2_000_000 + "]"), "config.yaml: larger than"),
    "1 GiB of result.json": (_sparse("result.json", GIB), "result.json: larger than"),
    "1 GiB of config.yaml": (_sparse("config.yaml", GIB), "config.yaml: larger than"),
    "endless number": (_replace("config.yaml", "seed: " + "1:" * 100_000 + "1"), "config.yaml: "),
    "tag": (_append("config.yaml", "\nx: !!int ''\n"), "config.yaml: "),
}
CURVE_DAMAGES: dict[str, Callable[[Path], None]] = {
    "pipe": _pipe("metrics.csv"),
    "1 GiB": _sparse("metrics.csv", GIB),
    "garbage": lambda folder: (folder / "metrics.csv").write_bytes(np.random.default_rng(0).bytes(3_000_000)) and None,
    "wide cell": _replace("metrics.csv", 'epoch,step,train/loss\n0,1,"' + "x" * 200_000 + '"\n'),
    "huge numbers": _replace("metrics.csv", f"epoch,step,train/loss\n{'9' * 400},1,1\n1,1,1e308\n2,1,-1e308\n"),
    "link to itself": _link_to_itself("metrics.csv"),
}
