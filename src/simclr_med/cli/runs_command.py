"""The command ``simclr-med runs``: list, show, compare, choose and delete runs. It reads files and imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from simclr_med.config.folders import CONF
from simclr_med.errors import BusyError, ConfigError, RunError
from simclr_med.runs.names import shown_path
from simclr_med.runs.records import RunRecord, read_records
from simclr_med.runs.removal import find_dependents, folder_bytes, remove_run
from simclr_med.runs.run_table import (
    format_age,
    print_candidates,
    print_columns,
    print_facts,
    print_json,
    print_records,
)
from simclr_med.runs.selection import (
    filter_records,
    find_named,
    rank_candidates,
    sort_records,
)

HELP = """\
simclr-med runs                          list all runs, the best validation score of each data set first
simclr-med runs stage=probe seed=0,1     list some of them: stage, dataset, state, budget, seed, init or a config key
simclr-med runs show RUN                 one run: state, scores, what it starts from, files
simclr-med runs compare RUN RUN          what differs between runs, and their validation scores
simclr-med runs best dataset=NAME        the classifier to use, chosen by validation
simclr-med runs rm RUN                   delete runs, after a question; those that other runs start from stay
The column seeds shows the seed of a run / that of its encoder, if it was pretrained or has another seed.
RUN is a folder, its name, or the first digits of the hash at its end. Options: --json (list, show, best),
--yes (rm: do not ask), paths.runs=FOLDER."""
FLAGS = ("--json", "--yes", "-y", "--help", "-h")
MIB = 1 << 20


@dataclass(frozen=True)
class RunsQuery:
    """What a user typed after ``simclr-med runs``.

    Attributes:
        action: a key of `ACTIONS`.
        names: of runs.
        filters: key -> values separated by commas.
        flags: of `FLAGS`.
        folder: of all runs.
    """

    action: str
    names: list[str] = field(default_factory=list)
    filters: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    folder: Path = Path("runs")


def run_runs_command(words: Sequence[str]) -> int:
    """Run ``simclr-med runs`` with the words after it and return the exit code.

    Raises:
        UserError: a wrong word, an unknown run, or nothing to list.
    """
    query = parse_query(words)
    if not query.flags.isdisjoint(("--help", "-h")):
        print(HELP, flush=True)
        return 0
    records, problems = read_records(query.folder)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not records:
        raise RunError(f"paths.runs={query.folder}: found no runs. Start some first, or choose another folder.")
    return ACTIONS[query.action](query, records)


def parse_query(words: Sequence[str]) -> RunsQuery:
    """Parse the words after ``simclr-med runs``.

    Raises:
        ConfigError: an unknown flag, or a name where a filter is expected.
    """
    rest = list(words)
    action = rest.pop(0) if rest and rest[0] in ACTIONS else "list"
    flags = {word for word in rest if word.startswith("-")}
    if unknown := sorted(flags - set(FLAGS)):
        raise ConfigError(f"{unknown[0]}: unknown flag. See simclr-med runs --help.")
    # A path may hold an equals sign.
    pairs = [word for word in rest if "=" in word and not Path(word).exists()]
    names = [word for word in rest if word not in flags and word not in pairs]
    if action == "list" and names:
        actions = ", ".join(name for name in ACTIONS if name != "list")
        raise ConfigError(f"{names[0]}: expected {actions} or <key>=<value>. See simclr-med runs --help.")
    filters = dict(pair.split("=", 1) for pair in pairs)
    folder = Path(filters.pop("paths.runs", "") or OmegaConf.load(CONF / "config.yaml").paths.runs)
    return RunsQuery(action, names, filters, flags, folder.expanduser().absolute())


def _list(query: RunsQuery, records: Sequence[RunRecord]) -> int:
    found = sort_records(filter_records(records, query.filters))
    if "--json" in query.flags:
        print_json(found)
    elif found:
        print_records(found, shown_path(query.folder))
    else:
        print("No run has all of these values.", file=sys.stderr)
    return 0


def _show(query: RunsQuery, records: Sequence[RunRecord]) -> int:
    chosen = _selected(query, records)
    if "--json" in query.flags:
        print_json(chosen)
        return 0
    for record in chosen:
        facts: dict[str, object] = {"state": record.state, "changed": _format_time(record.changed_at)}
        facts |= {"message": record.message} if record.message else {}
        facts |= {"data set": record.dataset, "budget": record.budget, "seed": record.seed, "starts from": record.start}
        facts |= {"": record.started_from} if record.started_from else {}
        facts |= {"wall time": format_age(record.wall_s)} if record.wall_s is not None else {}
        facts |= {name: value for name, value in record.metrics.items() if name.count("/") < 2}
        dependents = find_dependents(record, records)
        facts |= {"used by": _count(len(dependents))} if dependents else {}
        facts |= {"files": "  ".join(sorted(path.name for path in record.folder.iterdir()))}
        print_facts(f"{record.stage} {shown_path(record.folder)}", facts)
    return 0


def _compare(query: RunsQuery, records: Sequence[RunRecord]) -> int:
    chosen = _selected(query, records)
    if len(chosen) < 2:
        raise ConfigError("simclr-med runs compare: expected two runs or more. Name them, or give <key>=<value>.")
    keys = list(dict.fromkeys(key for record in chosen for key in record.settings))
    columns = {"stage": "stage", "dataset": "dataset", "budget": "budget", "seed": "seed", "state": "state"}
    rows = [[name, *(str(getattr(record, key)) for record in chosen)] for name, key in columns.items()]
    rows += [[key, *(record.settings.get(key, "").strip('"') for record in chosen)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    names = [
        *dict.fromkeys(name for record in chosen for name in record.metrics if name.startswith(("val/", "train/")))
    ]
    scores = [[name, *(record.metrics.get(name) for record in chosen)] for name in names if name.count("/") < 2]
    print_columns(["", *(record.id for record in chosen)], [*rows, *scores])
    for record in chosen:
        print(f"{record.id}  {shown_path(record.folder)}")
    print("Test scores are in the report (simclr-med stage=report): choose by validation, then compare there.")
    return 0


def _best(query: RunsQuery, records: Sequence[RunRecord]) -> int:
    found = [record for record in filter_records(records, query.filters) if record.state == "finished"]
    if "stage" not in query.filters:
        found = [record for record in found if record.is_classifier]
    winners = []
    for dataset in sorted({record.dataset for record in found}):
        ranked = rank_candidates([record for record in found if record.dataset == dataset])
        if not ranked:
            continue
        winners.append(ranked[0].best)
        if "--json" not in query.flags:
            print_candidates(dataset, ranked)
    if not winners:
        kind = "run" if "stage" in query.filters else "classifier"
        raise RunError(
            f"simclr-med runs best: no finished {kind} has a validation score. Run stage=probe, or stage=finetune with "
            "data_fraction.validation=split."
        )
    if "--json" in query.flags:
        print_json(winners)
    return 0


def _count(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"


def _remove(query: RunsQuery, records: Sequence[RunRecord]) -> int:
    chosen = _selected(query, records)
    kept = [record for record in records if record not in chosen]
    status, doomed = 0, []
    for record in chosen:
        if dependents := find_dependents(record, kept):
            print(f"kept      {shown_path(record.folder)}: used by {_count(len(dependents))}", file=sys.stderr)
            status = RunError.exit_code
        else:
            doomed.append(record)
    if not doomed:
        return status
    size = sum(folder_bytes(record.folder) for record in doomed)
    for record in doomed:
        print(f"{record.state:<10}{shown_path(record.folder)}")
    if query.flags.isdisjoint(("--yes", "-y")) and not _confirm(
        f"Delete {_count(len(doomed))} ({size / MIB:,.1f} MiB)?"
    ):
        print("Nothing was deleted.")
        return RunError.exit_code
    for record in doomed:
        try:
            remove_run(record, query.folder)
        except BusyError as error:
            print(error, file=sys.stderr)
            status = RunError.exit_code
        else:
            print(f"deleted   {shown_path(record.folder)}")
    return status


def _selected(query: RunsQuery, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs that the query names, or those that its filters fit."""
    if not query.names and not query.filters:
        raise ConfigError(f"simclr-med runs {query.action}: no run given. Name one, or give <key>=<value>.")
    named = [find_named(records, name) for name in query.names] if query.names else list(records)
    return filter_records(list({record.folder: record for record in named}.values()), query.filters)


def _confirm(question: str) -> bool:
    if not sys.stdin.isatty():
        raise RunError(f"{question} There is no terminal to ask. Add --yes.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "minutes")


ACTIONS: dict[str, Callable[[RunsQuery, Sequence[RunRecord]], int]] = {
    "list": _list,
    "show": _show,
    "compare": _compare,
    "best": _best,
    "rm": _remove,
}
