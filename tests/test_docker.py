"""The Dockerfile copies what the wheel needs, and the commands of docs/docker.md compose. No daemon is needed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
from omegaconf import DictConfig

from simclr_med.cli.arguments import parse_argv
from simclr_med.config.validate import find_problems

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
# Instructions, each on one line.
LINES = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()


def copied() -> list[str]:
    """The sources that the first stage copies from the repository."""
    words = [line.split()[1:-1] for line in LINES if line.startswith("COPY ") and "--from=" not in line]
    return [source for line in words for source in line]


def is_ignored(name: str) -> bool:
    """Whether .dockerignore leaves a top-level name out; its last matching line decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#") and fnmatch(name, line.removeprefix("!")):
            ignored = not line.startswith("!")
    return ignored


def shown(command: str) -> list[list[str]]:
    """The words of each `docker <command>` of the page."""
    joined = PAGE.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in joined if line.startswith(f"docker {command} ")]


def test_sources_exist_and_reach_the_build() -> None:
    assert {"conf", "src", "pyproject.toml", "constraints.txt"} <= set(copied())
    for name in copied():
        assert (ROOT / name).exists(), name
        assert not is_ignored(name), name
    for name in ("runs", ".git", ".venv", "tests"):
        assert is_ignored(name), name


def test_user_is_not_root_and_sees_the_documented_folders() -> None:
    last_stage = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM ")) :]
    assert [line for line in last_stage if line.startswith("USER ")] == ["USER 1000"]
    assert any("SIMCLR_MED_DATA=/data SIMCLR_MED_RUNS=/workspace/runs" in line for line in last_stage)
    assert 'ENTRYPOINT ["simclr-med"]' in last_stage


def test_build_arguments_of_the_page_exist() -> None:
    defaults = dict(line.removeprefix("ARG ").split("=", 1) for line in LINES if line.startswith("ARG "))
    used = dict(re.findall(r"--build-arg (\w+)=([\w,]+)", PAGE))
    assert defaults.keys() == used.keys() == {"DEVICE", "EXTRAS"}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in {*used["EXTRAS"].split(","), defaults["EXTRAS"]}:
        assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), extra
    assert len(shown("build")) == 2


def test_commands_of_the_page_compose(composed: Callable[..., DictConfig]) -> None:
    found = [words[words.index("simclr-med") + 1 :] for words in shown("run")]
    assert len(found) == 3
    for words in found:
        assert find_problems(composed(*parse_argv(words).overrides)) == []


@pytest.mark.parametrize(("device", "code"), [("cpu", 0), ("cuda", 0), ("gpu", 1)])
def test_device_is_checked(device: str, code: int) -> None:
    (line,) = [line.removeprefix("RUN ") for line in LINES if line.startswith("RUN case")]
    done = subprocess.run(
        ["sh", "-c", f'pip() {{ echo "$@"; }}; DEVICE={device}; {line}'], capture_output=True, text=True
    )
    assert done.returncode == code
    assert done.stderr == ("" if code == 0 else "DEVICE=gpu: expected cpu or cuda.\n")
    assert ("/whl/cpu torch torchvision" in done.stdout) == (device == "cpu")


@pytest.mark.process
def test_copied_files_suffice_for_the_wheel(tmp_path: Path) -> None:
    for name in copied():
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    words = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(tmp_path),
    ]
    subprocess.run(words, check=True, capture_output=True)
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 1
