"""What `simclr-med --help` prints: first commands, then every group with its options, read off conf/."""

from __future__ import annotations

import textwrap
from pathlib import Path

FIRST = """\
simclr-med: SimCLR pretraining for medical images.

First commands
  simclr-med stage=study dataset=breastmnist                      the whole answer for one set, report and all
  simclr-med stage=pretrain dataset=synthetic stage.epochs=10     no download: images drawn on the spot
  simclr-med stage=pretrain dataset=bloodmnist                    MedMNIST, downloaded once
  simclr-med stage=pretrain dataset=npz dataset.path=cells.npz    a file of yours in MedMNIST's layout
  simclr-med stage=pretrain dataset=folder dataset.path=images/   a folder of PNG, JPEG or TIFF images
  simclr-med stage=probe dataset=bloodmnist data_fraction=n100    what it learned, with 100 labels
  simclr-med -m stage=pretrain dataset=bloodmnist seed=0,1,2      three runs, one after another
  simclr-med grid=label_efficiency dataset=bloodmnist             a whole study of one set
"""
LAST = """\
Any key can be set as key=value; a misspelt one is an error. --cfg job prints the whole config, dry_run=true what would
be done, --hydra-help the flags of Hydra. YAML of your own: --config-dir FOLDER with FOLDER/<group>/<option>.yaml."""


def guide(folders: list[Path]) -> str:
    """The help text.

    Args:
        folders: of the configuration, ours and the user's.
    """
    groups: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            groups.setdefault(path.parent.name, set()).add(path.stem)
    lines = [
        textwrap.fill(" ".join(sorted(options)), 118, initial_indent=f"  {group:<15}", subsequent_indent=" " * 17)
        for group, options in sorted(groups.items())
    ]
    return "\n".join((FIRST, "Groups (group=option)", *lines, "", LAST))
