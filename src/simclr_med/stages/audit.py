"""Stage audit: what is wrong with a data set, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from simclr_med import build
from simclr_med.atomic import write_text
from simclr_med.audit.exclusion import choose_exclusions, write_exclusions
from simclr_med.audit.findings import Finding, count_kinds, twins_of_test, write_findings
from simclr_med.audit.groups import find_shared_groups, read_groups
from simclr_med.audit.inspection import check_labels, check_pixels, has_single_labels, sort_findings
from simclr_med.audit.kinds import KINDS
from simclr_med.audit.neighbours import find_nearest
from simclr_med.audit.pixel_features import describe_pixels, fit_whitening
from simclr_med.audit.pool import Pool
from simclr_med.audit.sources import find_isolation
from simclr_med.audit.verdict import judge
from simclr_med.config import stage_nodes
from simclr_med.config.schema import Config
from simclr_med.data.excluded import Excluded
from simclr_med.data.progress import show_progress
from simclr_med.data.source import Source
from simclr_med.evaluation.logistic_path import Labelled
from simclr_med.report.audit_page import render_audit_page
from simclr_med.runs.names import shown_path
from simclr_med.runs.run import Run
from simclr_med.stages.audit_sections import build_page
from simclr_med.stages.frame import Outcome, open_stage
from simclr_med.stages.preview_audit import read_audited
from simclr_med.stages.probe import feature_reader
from simclr_med.types import SPLITS

PIXELS = "pixels, standardised, shrunken and whitened"
ENCODER = "encoder, whitened, and pixels"
ALWAYS = ("exact_duplicate", "near_duplicate", "opposite_labels", "label_error")  # kinds that the summary always shows


def audit(run: Run[Config[stage_nodes.Audit]], source: Source) -> None:
    """Write audit.html, findings.csv and exclude.csv.

    All splits are compared with each other. Nothing is fitted that a result uses, and nothing is chosen.
    """
    has_encoder = run.init.path is not None
    page = run.folder / "audit.html"
    with open_stage(run, uses_device=has_encoder) as frame:
        pool = read_audited(source)
        findings = _inspect(run, source, pool)
        reasons = choose_exclusions(findings, pool)
        verdict = judge(findings, pool, len(reasons))
        frame.start_loggers()
        write_text(run.folder / "findings.csv", write_findings(findings, pool))
        _write_exclusions(run.folder / "exclude.csv", reasons, pool, source)
        content = build_page(
            source, pool, findings, verdict, run.folder / "exclude.csv" if reasons else None, run.cfg.stage.pictures
        )
        write_text(page, render_audit_page(content))
        counts, twins = count_kinds(findings), sorted(twins_of_test(findings, pool))
        for line in verdict.answer:
            print(line, flush=True)
        frame.finish(
            Outcome(
                title=f"Audit of {source.name}",
                rows={KINDS[kind].title: f"{count:,}" for kind, count in counts.items() if count or kind in ALWAYS}
                | {"images to leave out": f"{len(reasons):,}"},
                metrics={f"{split}/images": float(pool.is_in(split).sum()) for split in pool.splits}
                | {"test/images_with_twin": float(len(twins))},
                tables={
                    "findings": counts,
                    "level": verdict.level,
                    "answer": list(verdict.answer),
                    "test_twins": [pool.place(image)[1] for image in twins],
                },
                facts={"features": ENCODER if has_encoder else PIXELS},
                tables_written=[run.folder / "findings.csv", run.folder / "exclude.csv"],
            )
        )
    print(f"Page:     {shown_path(page)}")


def _inspect(run: Run[Config[stage_nodes.Audit]], source: Source, pool: Pool) -> tuple[Finding, ...]:
    stage, names = run.cfg.stage, source.classes
    with show_progress("Comparing images", "steps") as show:
        checked = check_pixels(pool, names, run.cfg.seed, show)
    findings = [*checked.findings, *find_isolation(checked.isolation)]
    if stage.groups_csv is not None:
        findings += find_shared_groups(read_groups(Path(stage.groups_csv).expanduser(), source, pool), pool)
    if has_single_labels(pool) and len(names) > 1:
        features_ND = _describe(run, source, pool)
        nearest = find_nearest(features_ND, stage.neighbours)
        assert pool.labels_NL is not None
        fitted = build.instantiate_node(
            stage.classifier,
            train=Labelled(features_ND, pool.labels_NL),
            val=None,
            task=source.task,
            classes=len(names),
            seed=run.cfg.seed,
        )
        if fitted.probabilities_MK is None:
            print("Labels are not checked: that needs two images of a class.", flush=True)
        else:
            findings += check_labels(pool, fitted.probabilities_MK, nearest, findings, names)
    elif source.task is not None:
        print("Labels are not checked: that needs one class for each image of every split.", flush=True)
    return sort_findings(findings)


def _describe(run: Run[Config[stage_nodes.Audit]], source: Source, pool: Pool) -> np.ndarray:
    """Return whitened pixels with their colour, and beside them the whitened features of an encoder, if there is one.

    Whitened features are few, so that the classifier takes seconds. Both together find more wrong labels than either
    (chest X-rays, where a short pretraining gives weak features: 12 of 20, 8 with the encoder's alone).

    Returns:
        float32 [N, D], of length 1.
    """
    pixels_ND = fit_whitening(describe_pixels, pool.small_NSSC, run.cfg.seed)(pool.small_NSSC)
    if run.init.path is None:
        return pixels_ND
    features = feature_reader(run, source)
    encoded_ND = torch.cat([features(split) for split in pool.splits]).float().numpy()
    whitened_ND = fit_whitening(lambda rows_ND: rows_ND, encoded_ND, run.cfg.seed)(encoded_ND)
    return np.concatenate([whitened_ND, pixels_ND], axis=1) / np.float32(2**0.5)


def _write_exclusions(path: Path, reasons: dict[int, str], pool: Pool, source: Any) -> None:
    """Write exclude.csv in rows of the whole data set; what dataset.exclude leaves out already stays in it."""
    earlier = source.rows if isinstance(source, Excluded) else {}
    whole_rows = {}
    for split in pool.splits:
        left_out = earlier.get(split, ())
        count = int(pool.is_in(split).sum()) + len(left_out)
        whole_rows[split] = np.delete(np.arange(count), left_out)
    listed = [(split, row) for split in SPLITS for row in earlier.get(split, ())]
    write_text(path, write_exclusions(reasons, pool, whole_rows, listed))
