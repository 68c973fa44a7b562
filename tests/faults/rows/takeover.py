"""A worker dies, and others are free: how soon does its job run again?"""

import time
from random import Random

import psutil

from app.contracts.job import Status
from tests.faults.history import Expected
from tests.faults.houses import SHORT, FaultHouse, open_house
from tests.faults.kills import pause
from tests.faults.outcome import Figure, Outcome, Plan
from tests.faults.processes import Attempt, WorkerFamily
from tests.faults.rows.stop import gaps
from tests.faults.specs import rehearsal

NUM_WORKERS = 4
AT_A_TIME = 2
STEPS = 6000
SHORT_LIMIT_SECONDS = 5.0


def run(plan: Plan) -> Outcome:
    return take_over(plan, SHORT, SHORT_LIMIT_SECONDS)


def take_over(plan: Plan, settings: dict[str, str], limit_seconds: float) -> Outcome:
    """Kill the workers of two jobs at a time, until the number is reached."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    lost: list[tuple[Attempt, float]] = []
    either = Expected(frozenset({Status.CANCELLED, Status.SUCCEEDED}))
    posted = 0
    with open_house(plan.database, settings, NUM_WORKERS, plan.sabotage) as house:
        while len(lost) < plan.faults:
            while len(house.open_jobs()) < AT_A_TIME:
                posted += 1
                house.post(rehearsal(f"takeover-{plan.seed}-{posted}", posted, STEPS)[0], either)
            pause(random, 1.0, 3.0)
            working = [family for family in house.families() if family.attempt is not None]
            fallen = [_kill(house, family, random) for family in working]
            lost += fallen
            house.touched = {attempt.key for attempt, _ in lost}
            _wait_for_next_attempts(house, fallen, limit_seconds)
        for job in house.open_jobs():
            house.client.cancel(job.id)
        house.wait_for_end(60)
        history, wrong = house.judged()
    return Outcome(
        f"a worker dies, a lease of {float(settings.get('STILLHOUSE_LEASE_SECONDS', 60)):g} s",
        plan.database,
        plan.seed,
        posted,
        len(lost),
        time.monotonic() - began,
        wrong,
        {"dead worker to running again": Figure(gaps(history, lost), limit_seconds)},
    )


def _kill(house: FaultHouse, family: WorkerFamily, random: Random) -> tuple[Attempt, float]:
    """Kill the supervisor alone, or the whole worker, which an operator then starts again."""
    assert family.attempt is not None
    moment = time.time()
    if random.random() < 0.5:
        house.kill(family.name)
        house.house.start(family.name)
    else:
        try:
            family.child.kill()
        except psutil.NoSuchProcess:
            moment = time.time()
    return family.attempt, moment


def _wait_for_next_attempts(
    house: FaultHouse, fallen: list[tuple[Attempt, float]], limit_seconds: float
) -> None:
    deadline = time.monotonic() + 2 * limit_seconds
    waiting = {attempt.job_id: attempt.fence for attempt, _ in fallen}
    while waiting and time.monotonic() < deadline:
        time.sleep(0.1)
        still = {job.id: job.fence for job in house.open_jobs()}
        waiting = {
            job_id: fence for job_id, fence in waiting.items() if still.get(job_id, 0) == fence
        }
