"""The queue is killed, flushed, restarted empty; no job may need what lay in it."""

import time
from random import Random

from tests.faults.history import History
from tests.faults.houses import SHORT, FaultHouse, open_house
from tests.faults.kills import pause
from tests.faults.outcome import Figure, Outcome, Plan
from tests.faults.specs import rehearsal

SETTINGS = {**SHORT, "STILLHOUSE_REAP_SECONDS": "5"}
"""With the reconciler as quick as it is by default."""
JOBS_A_FAULT = 5
LIMIT_SECONDS = 20.0
WAIT_SECONDS = 40.0


def run(plan: Plan) -> Outcome:
    """Post a few jobs around each fault, and see how soon each is on its way."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    faults = [_killed_for_a_while, _flushed, _restarted]
    due: dict[str, float] = {}
    with open_house(plan.database, SETTINGS, sabotage=plan.sabotage) as house:
        for number in range(plan.faults):
            names = [f"queue-{plan.seed}-{number}-{each}" for each in range(JOBS_A_FAULT)]
            moment = faults[number % len(faults)](house, random, names)
            due |= dict.fromkeys(names, moment)
            house.wait_for_end(WAIT_SECONDS)
            pause(random, 0.0, 2.0)
        history, wrong = house.judged()
    return Outcome(
        "queue killed, flushed, restarted empty",
        plan.database,
        plan.seed,
        len(due),
        plan.faults,
        time.monotonic() - began,
        wrong,
        {"a job on its way": Figure(_waits(history, due), LIMIT_SECONDS)},
    )


def _post(house: FaultHouse, names: list[str]) -> None:
    for seed, name in enumerate(names):
        house.post(*rehearsal(name, seed, steps=30))


def _killed_for_a_while(house: FaultHouse, random: Random, names: list[str]) -> float:
    house.valkey.kill()
    _post(house, names)
    pause(random, 0.0, 3.0)
    house.valkey.start()
    return time.time()


def _flushed(house: FaultHouse, random: Random, names: list[str]) -> float:
    # More jobs than workers: the last doorbells still lie in the queue.
    _post(house, names)
    house.valkey.flush()
    return time.time()


def _restarted(house: FaultHouse, random: Random, names: list[str]) -> float:
    half = len(names) // 2
    _post(house, names[:half])
    house.valkey.kill()
    house.valkey.start()
    _post(house, names[half:])
    return time.time()


def _waits(history: History, due: dict[str, float]) -> list[float]:
    """Return how long each job waited, from when it was posted and the queue there."""
    waits = []
    for job in history.jobs.values():
        created = job.events[0].at
        claimed = next((event.at for event in job.events if event.type == "job.claimed"), None)
        late = 3600.0 if claimed is None else claimed - max(created, due[job.name])
        waits.append(max(late, 0.0))
    return waits
