"""Where an encoder starts from: each function is one option of the group init. None of them reads weights."""

from __future__ import annotations

import json
from pathlib import Path

from simclr_med.errors import RunError
from simclr_med.files import sha256
from simclr_med.runs import Origin, finished_runs


def random() -> Origin:
    """Weights drawn from the run's seed."""
    return Origin(kind="random", hash="random")


def checkpoint(path: str) -> Origin:
    """Weights of a file, whatever its kind.

    Raises:
        RunError: there is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise RunError(f"init.path={path}: must be a file with weights. There is none at {file.absolute()}.")
    return Origin(kind="checkpoint", hash=f"sha256:{sha256(file)}", path=file.absolute())


def pretrained(
    runs: str, dataset: str, augmentation: str, encoder: str, size: int | None, seed: int, run: str | None
) -> Origin:
    """The encoder of the one finished pretraining run that recorded these fields.

    Args:
        runs: folder of all runs.
        dataset, augmentation, encoder, size, seed: what the run recorded.
        run: folder of a run, which decides alone when it is given.

    Raises:
        RunError: no run fits, or several do; lists the candidates and the command that would make one.
    """
    if run is not None:
        return _of(Path(run).expanduser().absolute())
    wanted = {"augmentation": augmentation, "encoder": encoder, "size": size, "seed": seed}
    candidates, fitting = [], []
    for folder, cfg, _ in finished_runs(Path(runs).absolute(), "pretrain", dataset):
        has = {
            "augmentation": cfg.augmentation.name,
            "encoder": cfg.encoder.name,
            "size": cfg.dataset.get("size"),
            "seed": cfg.seed,
        }
        candidates.append(f"  {folder}")
        if has == wanted:
            fitting.append(folder)
    if len(fitting) == 1:
        return _of(fitting[0])
    told = " ".join(f"{key}={value}" for key, value in {"dataset": dataset, **wanted}.items())
    make = f"simclr-med stage=pretrain dataset={dataset} augmentation={augmentation} encoder={encoder} seed={seed}"
    if fitting:
        listed = [f"  {folder}" for folder in fitting]
        raise RunError(f"init=pretrained: must fit one run; {len(fitting)} fit {told}. Name one by init.run=:", *listed)
    found = [f"Finished pretraining runs on {dataset}:", *candidates] if candidates else []
    raise RunError(
        f"init=pretrained: must find a finished run under {Path(runs).absolute()}; none fits {told}. Make one: {make}",
        *found,
    )


def _of(folder: Path) -> Origin:
    path = folder / "encoder.safetensors"
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        digest = result["provenance"]["encoder_hash"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"init.run={folder}: must be the folder of a finished pretraining run. Finish it.") from error
    if not path.is_file():
        raise RunError(f"init.run={folder}: must hold encoder.safetensors. Make the run again with overwrite=true.")
    return Origin(kind="pretrained", hash=digest, path=path, run=folder)
