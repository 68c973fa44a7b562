"""`python -m tests.faults --quick`: the table of faults, row by row, with real processes."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.faults import prove
from tests.faults.outcome import Outcome, Plan, added_up, append, read, table
from tests.faults.plans import FULL, QUICK, ROWS

RESULTS = Path("faults.jsonl")
ALLOWANCE = 3
"""How many times its bar a figure may be of few samples, where one slow second is the slowest."""


def main() -> int:
    """Run what was asked for; return 0 if every row is good."""
    given = _parser().parse_args()
    if given.prove:
        proofs = prove.prove(given.lanes)
        print(prove.table(proofs))
        return 0 if all(outcome.complaints for outcome in proofs.values()) else 1
    if given.add_up is not None:
        outcomes = added_up(read(given.add_up))
    else:
        with ThreadPoolExecutor(given.lanes) as lanes:
            outcomes = list(lanes.map(partial(_run, given), _chosen(given)))
    print(table(outcomes))
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _run(given: argparse.Namespace, chosen: tuple[str, Plan]) -> Outcome:
    row, plan = chosen
    outcome = ROWS[row](plan)
    if not given.full:
        for figure in outcome.figures.values():
            figure.limit = figure.limit and ALLOWANCE * figure.limit
    append(outcome, given.results)
    print(f"{row} on {plan.database} took {outcome.seconds:.0f} s", flush=True)
    return outcome


def _chosen(given: argparse.Namespace) -> list[tuple[str, Plan]]:
    """Return the plans of the rows that were asked for, as they were asked for."""
    plans = FULL if given.full else QUICK
    asked = {
        name: value
        for name in ("jobs", "faults", "seed", "database")
        if (value := getattr(given, name)) is not None
    }
    chosen = [(row, plan) for row, plan in plans if given.row in {None, row}]
    if given.database is not None:
        chosen = [(row, plan) for row, plan in chosen if plan.database == given.database]
    return [(row, replace(plan, **asked)) for row, plan in chosen]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="the small counts; some minutes")
    size.add_argument("--full", action="store_true", help="the large counts; many hours")
    size.add_argument("--add-up", type=Path, metavar="FILE", help="the table of all runs in a file")
    size.add_argument("--prove", action="store_true", help="does it notice a sabotaged build?")
    parser.add_argument("--row", choices=list(ROWS), help="this one alone")
    parser.add_argument("--database", choices=["sqlite", "postgres"], help="on this one alone")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--lanes", type=int, default=1, help="rows that run at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where a line a run is added")
    return parser


if __name__ == "__main__":
    sys.exit(main())
