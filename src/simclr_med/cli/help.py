"""What `simclr-med --help` prints: first commands, then the stages and every group with its options, read off conf/."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

FIRST = """\
simclr-med: SimCLR pretraining for medical images.

First commands
  simclr-med stage=study dataset=breastmnist                      the whole answer for one set, report and all
  simclr-med stage=study dataset=npz dataset.path=cells.npz       the same for a file of yours (or dataset=folder)
  simclr-med stage=pretrain dataset=bloodmnist                    one encoder; MedMNIST is downloaded once
  simclr-med stage=probe dataset=bloodmnist data_fraction=n100    what it learned, with 100 labels
  simclr-med grid=label_efficiency dataset=bloodmnist             a sweep: every budget, method and seed
"""
LAST = """\
Any key can be set as key=value; a misspelt one is an error. --cfg job prints the whole config, dry_run=true what would
be done, -m with lists (seed=0,1,2) a sweep, --hydra-help the flags of Hydra. YAML of your own: --config-dir FOLDER with
FOLDER/<group>/<option>.yaml. Completion by the shell: eval "$(simclr-med -sc install=bash)" (or install=zsh, fish)."""


def help_text(folders: list[Path]) -> str:
    """The help text.

    Args:
        folders: of the configuration, ours and the user's.
    """
    groups: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            groups.setdefault(path.parent.name, {})[path.stem] = path
    stages = [f"  {name:<10} {first_sentence(path)}".rstrip() for name, path in sorted(groups.pop("stage").items())]
    lines = [
        textwrap.fill(" ".join(sorted(options)), 118, initial_indent=f"  {group:<15}", subsequent_indent=" " * 17)
        for group, options in sorted(groups.items())
    ]
    return "\n".join((FIRST, "Stages (stage=name)", *stages, "", "Groups (group=option)", *lines, "", LAST))


def first_sentence(path: Path) -> str:
    """What a YAML says of itself first: its opening comment up to a colon or a full stop."""
    comment = re.match(r"(?:# @package .*\n)?((?:#.*\n)*)", path.read_text(encoding="utf-8"))
    words = " ".join(line.lstrip("# ") for line in comment[1].splitlines()) if comment else ""
    first = re.match(r".*?(?=[:.](?:\s|$))|.*", words)
    return first[0] if first else ""
