"""README and docs: every command composes, every name in them exists, and their Python runs."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
import torchvision
import yaml
from omegaconf import DictConfig

import simclr_med
from simclr_med.cli.arguments import parse_argv
from simclr_med.cli.help import FIRST
from simclr_med.cli.runs_command import ACTIONS, parse_query
from simclr_med.config.budgets import expand_budgets
from simclr_med.config.validate import find_problems
from simclr_med.models.encoder_files import save_encoder
from simclr_med.models.encoders import resnet, set_option
from simclr_med.models.exports import WRITERS, Exported
from simclr_med.selection_csv import SelectedImage, format_selection

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
TOP_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PAGES = [*TOP_PAGES, *sorted((ROOT / "docs").rglob("*.md"))]
README_LINES = 150


class Command(NamedTuple):
    """A `simclr-med ...` line.

    Attributes:
        line: as it is typed.
        page: the first file that shows it.
    """

    line: str
    page: str


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(words after the fence, content) of each fenced block."""
    for info, content in re.findall(r"^```([^\n`]*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        yield info.strip(), content


def shown_commands(text: str) -> set[str]:
    """The `simclr-med ...` lines of blocks, and those in a sentence that have no placeholder."""
    joined = [content.replace("\\\n", " ") for info, content in blocks(text) if info in ("", "bash", "sh")]
    lines = [line.strip() for content in joined for line in content.splitlines()]
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [span for span in re.findall(r"`(simclr-med [^`]+)`", outside) if not re.search(r"<|\.\.\.", span)]
    return {line for line in lines if line.startswith("simclr-med ")}


def commands() -> list[Command]:
    """Every command that README, docs, CONTRIBUTING and the help text show, each once."""
    help_lines = re.sub(r"(\S)   .*", r"\1", FIRST).splitlines()
    found = {line.strip(): "--help" for line in help_lines if line.strip().startswith("simclr-med ")}
    for page in PAGES:
        found = dict.fromkeys(shown_commands(read(page)), page.name) | found
    return sorted(Command(*item) for item in found.items())


def yaml_files(page: str, folder: Path) -> None:
    """Write the YAML blocks of a page that have a title into a folder."""
    for path in PAGES:
        for info, content in blocks(read(path)) if path.name == page else ():
            title = re.search(r'title="([^"]+)"', info)
            if title:
                target = folder / title[1]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(content, encoding="utf-8")


def write_selections(overrides: Sequence[str], folder: Path) -> None:
    """Write the selection.csv that each data_fraction.file= names, for seed 0."""
    text = format_selection([SelectedImage(row, f"{row:032x}", "typiclust") for row in range(250)])
    for word in overrides:
        if word.startswith("data_fraction.file="):
            target = folder / word.partition("=")[2].replace("${seed}", "0")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.page}: {command.line}")
def test_command_composes(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    words = shlex.split(command.line)[1:]
    if words[0] == "runs":
        assert parse_query(words[1:]).action in ACTIONS
        return
    yaml_files(command.page, tmp_path)
    monkeypatch.chdir(tmp_path)
    typed = parse_argv(words)
    write_selections(typed.overrides, tmp_path)
    # A comma outside brackets separates the values of a sweep.
    parts = [(word.split("=", 1)[0], re.split(r",(?![^\[]*\])", word.split("=", 1)[1])) for word in typed.overrides]
    assert typed.is_sweep or all(len(values) == 1 for _, values in parts), "several values without -m"
    added = [] if typed.config_dir is None else [f"hydra.searchpath=['file://{tmp_path / typed.config_dir}']"]
    choices = [[f"{key}={value}" for value in values] for key, values in parts]
    for overrides in itertools.product(*choices):
        first = expand_budgets(composed(*added, *overrides))[0]
        assert find_problems(first) == []


def test_documents_show_commands() -> None:
    shown = {page.name: shown_commands(read(page)) for page in PAGES}
    assert len(commands()) >= 60
    assert len(shown["README.md"]) >= 5
    tasks = {"own-data", "label-budgets", "sweeps", "study-and-report", "tracking", "runs", "configuration", "encoders"}
    assert all(shown[f"{task}.md"] for task in tasks)


def test_command_in_sentence_is_found() -> None:
    text = "Type `simclr-med stage=probe` or `simclr-med stage=<name>`.\n\n```\nsimclr-med seed=1\n```\n"
    assert shown_commands(text) == {"simclr-med stage=probe", "simclr-med seed=1"}


def test_readme_is_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= README_LINES


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), flags=re.MULTILINE))
    for page in PAGES:
        shown = [line for info, content in blocks(read(page)) if info == "" for line in content.splitlines()]
        shown += re.findall(r"`(make [a-z-]+)[^`]*`", read(page))
        named = {line.split()[1] for line in shown if line.startswith("make ")}
        assert named - {"results"} <= targets, page.name  # `results` is a target that README announces


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"[a-z]+://", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.is_file(), f"{page.name}: {target}"
        if anchor:
            text = read(path)
            included = re.findall(r'--8<-- "([^"]+)"', text)
            text += "".join(read(ROOT / name) for name in included)
            headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_paths_exist(page: Path) -> None:
    for name in re.findall(r"`((?:src|conf|tests|benchmarks|docs)/[^`<> ]*)`", read(page)):
        assert (ROOT / name).exists() or (ROOT / "src/simclr_med" / name).exists(), f"{page.name}: {name}"


def test_picture_of_report_is_small() -> None:
    assert (ROOT / "docs/images/report.png").stat().st_size < 200_000


def test_every_page_is_in_navigation() -> None:
    named = set(re.findall(r"[\w/-]+\.md", read(ROOT / "mkdocs.yml")))
    assert named == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}


def test_pages_load_nothing_from_other_servers() -> None:
    settings = yaml.safe_load(read(ROOT / "mkdocs.yml"))
    assert settings["theme"]["font"] is False
    assert "extra_javascript" not in settings
    for name in settings["extra_css"]:
        assert not re.search(r"url\(|@import", read(ROOT / "docs" / name))
    for page in PAGES:
        assert not re.search(r"!\[[^\]]*\]\([a-z]+://|<(?:img|script|link)\b", read(page)), page.name


def test_options_of_configuration_page_exist() -> None:
    """The table names options that exist, of every group. It need not name each one: --help does."""
    text = read(ROOT / "docs" / "configuration.md")
    table = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", text.partition("## Messages")[0], flags=re.MULTILINE))
    groups = {path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"}
    assert set(table) == groups
    for group, cell in table.items():
        named = set(" ".join(span for span in re.findall(r"`([^`]*)`", cell) if "=" not in span).split())
        options = {path.stem for path in (CONF / group).glob("*.yaml")}
        assert named <= options, group
        assert named, group


def test_configuration_page_names_every_op() -> None:
    table = read(ROOT / "docs" / "configuration.md").partition("## Which augmentation?")[2].partition("## Messages")[0]
    used = {
        node["_target_"].removeprefix("simclr_med.augment.").partition(".")[::2]
        for path in (CONF / "augmentation").glob("*.yaml")
        for node in yaml.safe_load(read(path))["ops"]
    }
    rows = dict(re.findall(r"^\| `simclr_med\.augment\.([a-z]+)` \| (.*) \|$", table, flags=re.MULTILINE))
    for module, op in sorted(used):
        assert f"`{op}`" in rows[module], f"{module}.{op}"


def test_grids_of_sweep_page_exist_with_their_jobs() -> None:
    rows = re.findall(r"^\| (`[^|]*) \| ([\d, ]+) \|", read(ROOT / "docs" / "sweeps.md"), flags=re.MULTILINE)
    shown = {}
    for names, counts in rows:
        grids = re.findall(r"`(\w+)`", names)
        numbers = [int(number) for number in counts.split(", ")]
        shown |= dict(zip(grids, numbers * len(grids) if len(numbers) == 1 else numbers, strict=False))
    counted = {}
    for grid in shown:
        params = yaml.safe_load(read(CONF / "grid" / f"{grid}.yaml"))["hydra"]["sweeper"]["params"]
        counted[grid] = 1
        for values in params.values():
            counted[grid] *= len(re.split(r",(?![^\[]*\])", str(values)))
    assert counted == shown
    assert len(shown) >= 10


@pytest.mark.parametrize(("depth", "left_out"), [(14, None), (18, "encoder.layer4")])
def test_encoder_loads_in_plain_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int, left_out: str | None
) -> None:
    torch.manual_seed(0)
    ours = resnet(depth).eval()
    save_encoder(tmp_path / "encoder.safetensors", ours, {})
    (code,) = [content for info, content in blocks(read(ROOT / "docs" / "encoders.md")) if info == "python"]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec("\n".join(line for line in code.splitlines() if left_out is None or left_out not in line), names)
    theirs = names["encoder"]
    assert type(theirs) is torchvision.models.ResNet
    images = torch.rand(4, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()((images - 0.5) / 0.5), ours(images), atol=1e-5, rtol=1e-5)


def test_exported_files_load_in_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("timm", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extras timm and export are not installed")
    torch.manual_seed(0)
    ours = resnet(18).eval()
    set_option(ours, {"name": "resnet18", "stem": "stock"})
    exported = Exported(ours, None, (), torch.nn.Identity(), 28)
    for write in WRITERS.values():
        write(exported, tmp_path)
    monkeypatch.chdir(tmp_path)
    images = torch.rand(4, 3, 28, 28)
    names: dict[str, Any] = {"images": images.numpy()}
    for info, code in blocks(read(ROOT / "docs" / "export.md")):
        if info == "python":
            exec(code, names)
    mean, std = (torch.tensor(names["config"][key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        for found in (
            names["model"]((images - mean) / std),
            torch.from_numpy(names["output"]),
            names["program"](images),
        ):
            torch.testing.assert_close(found, ours(images), atol=1e-4, rtol=1e-4)


def test_encoder_file_has_same_bytes_each_time(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = resnet(18)
    for name in ("one", "two"):
        save_encoder(tmp_path / name, ours, {"b": "1", "a": "2", "c": "3"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safetensors.safe_open(tmp_path / "one", "pt") as file:
        assert file.metadata()["b"] == "1"


def test_citation_has_version_and_licence_of_package() -> None:
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == simclr_med.__version__
    assert citation["title"] == "simclr-med"
    assert citation["license"] in read(ROOT / "LICENSE")
    assert [author["name"] for author in citation["authors"]] == ["The simclr-med developers"]


@pytest.mark.parametrize("path", [*sorted(ROOT.glob(".github/workflows/*.yml")), ROOT / ".pre-commit-config.yaml"])
def test_automation_is_valid_yaml(path: Path) -> None:
    content = yaml.safe_load(read(path))
    if path.parent.name != "workflows":
        assert {hook["id"] for repository in content["repos"] for hook in repository["hooks"]} >= {
            "ruff",
            "ruff-format",
            "mypy",
            "codespell",
            "check-yaml",
            "check-added-large-files",
        }
        return
    used = re.findall(r"run: .*?make ([a-z -]+)$", read(path), flags=re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), flags=re.MULTILINE))
    assert {target for line in used for target in line.split()} <= targets
    for job in content["jobs"].values():
        assert job["steps"]


def test_workflow_covers_every_supported_python() -> None:
    declared = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', read(ROOT / "pyproject.toml"))
    assert declared is not None
    expected = [f"3.{minor}" for minor in range(int(declared[1]), int(declared[2]))]
    matrix = yaml.safe_load(read(ROOT / ".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == expected
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]


def test_build_of_docs_is_strict_and_offline() -> None:
    recipe = re.search(r"^docs:.*\n((?:\t.*\n)+)", read(ROOT / "Makefile"), flags=re.MULTILINE)
    assert recipe is not None
    assert "mkdocs build --strict" in recipe[1]
