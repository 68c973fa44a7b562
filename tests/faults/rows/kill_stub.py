"""SIGKILL of random processes, while rehearsals run."""

import time
from random import Random

from tests.faults.houses import SHORT, open_house
from tests.faults.kills import Killer, pause
from tests.faults.outcome import Outcome, Plan
from tests.faults.specs import rehearsal

MOST_OPEN = 9
"""Jobs that wait or run at a time."""
LAST_SECONDS = 240


def run(plan: Plan) -> Outcome:
    """Post jobs and kill until both have their number, then see every job through."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    with open_house(plan.database, SHORT, sabotage=plan.sabotage) as house:
        killer = Killer(house, random)
        house.touched = None
        posted = 0
        while posted < plan.jobs or killer.num_killed < plan.faults:
            while len(house.open_jobs()) < MOST_OPEN:
                posted += 1
                house.post(*rehearsal(f"kill-{plan.seed}-{posted}", plan.seed + posted))
            if killer.num_killed < plan.faults:
                killer.strike()
            pause(random, 0.1, 1.0)
        house.wait_for_end(LAST_SECONDS)
        _, wrong = house.judged()
    return Outcome(
        "SIGKILL, stub trainer",
        plan.database,
        plan.seed,
        posted,
        killer.num_killed,
        time.monotonic() - began,
        wrong,
        counts=killer.killed,
    )
