"""The harness proves itself: with the product sabotaged, the oracle has to complain."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.faults.outcome import Outcome, Plan
from tests.faults.plans import ROWS

SABOTAGES = {
    "fence_off": ("stop", Plan("sqlite", jobs=0, faults=4, seed=1)),
    "grace_off": ("database", Plan("postgres", jobs=0, faults=1, seed=2)),
    "doorbell_as_truth": ("queue", Plan("sqlite", jobs=0, faults=1, seed=3)),
    "no_temporary_folder": ("disk", Plan("sqlite", jobs=0, faults=1, seed=4)),
    "digests_unread": ("damage", Plan("sqlite", jobs=0, faults=4, seed=5)),
}
"""Each folder under `sabotage`, and the row that has to notice it."""


def prove(num_lanes: int) -> dict[str, Outcome]:
    """Run each sabotaged build; it is found where its outcome has complaints."""
    with ThreadPoolExecutor(num_lanes) as lanes:
        return dict(zip(SABOTAGES, lanes.map(_run, SABOTAGES), strict=True))


def _run(sabotage: str) -> Outcome:
    row, plan = SABOTAGES[sabotage]
    return ROWS[row](replace(plan, sabotage=sabotage))


def table(outcomes: dict[str, Outcome]) -> str:
    """Return a Markdown table of what was sabotaged and what was said of it."""
    lines = [
        "| sabotage | row | complaints | the first | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for sabotage, one in outcomes.items():
        first = one.complaints[0].replace("\n", " ") if one.complaints else "NOT NOTICED"
        lines.append(
            f"| {sabotage} | {one.row} | {len(one.complaints)} | {first[:150]} "
            f"| {one.seconds:.0f} |"
        )
    return "\n".join(lines)
