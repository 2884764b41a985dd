"""Students in the report: a run of stage=distill belongs to the encoder that its teacher was trained from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from simclr_med.report.results import EncoderInit, Result


def follow_teacher(result: Result, by_name: Mapping[str, Result]) -> Result:
    """Return a student's record with the initial weights of its teacher, so that both pair by encoder and seed.

    The student's own initial weights and what its teacher is become settings. The record of any other run is returned
    as it is.

    Args:
        result: of any run.
        by_name: all runs, by the names of their folders.
    """
    if result.teacher is None:
        return result
    settings = {**result.settings, "init": _quote(result.init.kind)}
    teacher = by_name.get(result.teacher)
    if teacher is None:
        return replace(result, init=EncoderInit("model", result.teacher), settings=settings)
    inherited = {
        f"teacher {key}": value for key, value in teacher.settings.items() if not key.startswith("augmentation.ops")
    }
    own = {"teacher stage": _quote(teacher.stage), "teacher encoder": _quote(teacher.encoder)}
    first = follow_teacher(teacher, {name: other for name, other in by_name.items() if name != result.folder.name})
    return replace(result, init=first.init, settings={**settings, **inherited, **own})


def _quote(text: str) -> str:
    return json.dumps(text)
