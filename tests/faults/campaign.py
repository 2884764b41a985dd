"""Every fault, tried against the real command line and counted: `python tests/faults/campaign.py [NAME ...]`.

It needs about an hour on two idle cores, Linux and root (for disks of its own), and libfaketime for the clocks. It
prints a line for each fault and ends with the number of faults tried and of runs lost; the exit code is 1 when there
are any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import company, damage, disks, full, stops
from faults.bench import Bench, Outcome

Fault = Callable[[Bench], Iterator[Outcome]]
# Name, the fault, epochs of its runs.
FAULTS: dict[str, tuple[Fault, int]] = {
    "kills": (stops.kills, 12),
    "overwriting": (stops.overwriting, 3),
    "signals": (stops.signals, 30),
    "states": (damage.states, 12),
    "metrics": (damage.metrics, 12),
    "results": (damage.results, 3),
    "places": (damage.places, 30),
    "locks": (company.locks, 12),
    "one_run": (company.one_run, 3),
    "one_killed": (company.one_killed, 12),
    "one_download": (company.one_download, 1),
    "clocks": (company.clocks, 12),
    "read_only": (full.read_only, 12),
    "one_file": (full.one_file, 40),
    "wandb_folder": (full.wandb_folder, 6),
    "no_more_files": (full.no_more_files, 3),
    "no_more_bytes": (full.no_more_bytes, 3),
}


def skipped(fault: Fault) -> str | None:
    """Why a fault cannot be tried here, or None."""
    if fault.__module__ == full.__name__:
        return disks.unavailable()
    if fault is company.clocks and not company.FAKETIME:
        return "needs libfaketime"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}; all when none is given")
    parser.add_argument("--place", type=Path, help="folder for the runs, kept; a temporary one when it is not given")
    chosen = parser.parse_args()
    tried: list[Outcome] = []
    for name in chosen.names or FAULTS:
        fault, epochs = FAULTS[name]
        why = skipped(fault)
        if why:
            print(f"{name}: skipped, it {why}" if why.startswith(("needs", "mounts")) else f"{name}: skipped, {why}")
            continue
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=chosen.place, ignore_cleanup_errors=True) as place:
            for outcome in fault(Bench(Path(place), epochs)):
                tried.append(outcome)
                print(message(outcome, place), flush=True)
    lost, wrong = sum(one.lost for one in tried), sum(bool(one.wrong) for one in tried)
    print(f"{len(tried)} faults tried, {lost} runs lost, {wrong} not as they should be")
    return int(bool(lost or wrong))


def message(outcome: Outcome, place: str) -> str:
    """fault | exit code | lost | line, and below it whatever is wrong."""
    lost = "LOST" if outcome.lost else "not lost"
    line = outcome.line.replace(place, "")
    wrong = "".join(f"\n    {words}" for words in outcome.wrong)
    return f"{outcome.fault:50} | {outcome.code:4} | {lost} | {line}{wrong}"


if __name__ == "__main__":
    sys.exit(main())
