"""The text of `simclr-med --help`: example commands, the stages, and the options of every group in conf/."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

FIRST = """\
simclr-med: SimCLR pretraining for medical images.

First commands
  simclr-med stage=study dataset=breastmnist                      all steps for one data set, with a report
  simclr-med stage=study dataset=npz dataset.path=cells.npz       the same for your own file (or dataset=folder)
  simclr-med stage=pretrain dataset=bloodmnist                    pretrain an encoder; downloads MedMNIST once
  simclr-med stage=probe dataset=bloodmnist data_fraction=n100    linear probe of this encoder with 100 labels
  simclr-med grid=label_efficiency dataset=bloodmnist             probes of many encoders, label budgets and seeds

Your runs (see simclr-med runs --help)
  simclr-med runs                                                 list all runs; runs show, compare, rm
  simclr-med runs best                                            the classifier to use, chosen by validation
"""
LAST = """\
Set any key with key=value. Misspelt keys are reported before anything runs.
  --cfg job             print the whole config
  dry_run=true          list the runs and their states; run nothing
  -m seed=0,1,2         run a sweep over these values
  --config-dir FOLDER   add your own options: FOLDER/<group>/<option>.yaml
  --hydra-help          list the flags of Hydra
Shell completion: eval "$(simclr-med -sc install=bash)" (or install=zsh, install=fish)."""


def help_text(folders: list[Path]) -> str:
    """Return the help text.

    Args:
        folders: with YAML options, ours first, then the user's.
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
    """Return the first sentence of a YAML file's opening comment, up to a colon or a full stop."""
    comment = re.match(r"(?:# @package .*\n)?((?:#.*\n)*)", path.read_text(encoding="utf-8"))
    words = " ".join(line.lstrip("# ") for line in comment[1].splitlines()) if comment else ""
    first = re.match(r".*?(?=[:.](?:\s|$))|.*", words)
    return first[0] if first else ""
