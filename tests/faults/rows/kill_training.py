"""SIGKILL of random processes, while real students are trained; each must come out bit for bit."""

import time
from random import Random

from tests.faults.history import Expected
from tests.faults.houses import SHORT, FaultHouse, open_house
from tests.faults.kills import Killer, pause
from tests.faults.oracle import STUDENT_FILE
from tests.faults.outcome import Outcome, Plan
from tests.faults.specs import digits

MOST_OPEN = 3
LAST_SECONDS = 240
REAL = {**SHORT, "STILLHOUSE_TRAINER": "worker.distillation"}


def run(plan: Plan) -> Outcome:
    """Train once undisturbed, then as often as planned while killing."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    with open_house(plan.database, REAL, num_workers=2, sabotage=plan.sabotage) as house:
        expected = Expected(student=undisturbed(house))
        killer = Killer(house, random)
        house.touched = None
        posted = 0
        while posted < plan.jobs or killer.num_killed < plan.faults:
            while len(house.open_jobs()) < MOST_OPEN:
                posted += 1
                house.post(digits(f"real-{plan.seed}-{posted}"), expected)
            if killer.num_killed < plan.faults:
                killer.strike()
            pause(random, 1.0, 3.0)
        house.wait_for_end(LAST_SECONDS)
        history, wrong = house.judged()
    same = [
        file.sha256 == expected.student
        for job in history.jobs.values()
        for file in job.files
        if file.path == STUDENT_FILE
    ]
    return Outcome(
        "SIGKILL, real training",
        plan.database,
        plan.seed,
        posted,
        killer.num_killed,
        time.monotonic() - began,
        wrong,
        # The undisturbed one equals itself.
        counts={"students": len(same) - 1, "bit-identical": sum(same) - 1, **killer.killed},
    )


def undisturbed(house: FaultHouse) -> str:
    """Return the digest of a student whose training nobody disturbs."""
    house.post(digits("undisturbed"), Expected())
    house.wait_for_end(LAST_SECONDS)
    (job,) = house.history().jobs.values()
    (student,) = (file.sha256 for file in job.files if file.path == STUDENT_FILE)
    return student
