"""Cancelled at a random moment: it ends soon, whatever the trainer thinks of it."""

import time
from dataclasses import replace
from random import Random

from app.contracts.job import Status
from tests.faults.history import Expected, History
from tests.faults.houses import SHORT, FaultHouse, open_house
from tests.faults.kills import pause
from tests.faults.outcome import Figure, Outcome, Plan
from tests.faults.specs import rehearsal

AT_A_TIME = 6
GRACEFUL_LIMIT_SECONDS = 15.0
STEPS = 6000
"""Two minutes: no trainer that is to ignore a wish may end by itself first."""
LONGEST_WAIT_SECONDS = 3.0


def run(plan: Plan) -> Outcome:
    return cancel(plan, SHORT, GRACEFUL_LIMIT_SECONDS)


def cancel(plan: Plan, settings: dict[str, str], ignored_limit_seconds: float) -> Outcome:
    """Cancel every job, half of them with a trainer that hears nothing."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    asked: dict[str, float] = {}
    with open_house(plan.database, settings, sabotage=plan.sabotage) as house:
        number = 0
        while number < plan.faults:
            ids = []
            for _ in range(min(AT_A_TIME, plan.faults - number)):
                number += 1
                ids.append(_post(house, f"cancel-{plan.seed}-{number}", ignoring=number % 2 == 0))
            for job_id in ids:
                pause(random, 0.0, LONGEST_WAIT_SECONDS / 2)
                moment = time.time()
                if house.client.cancel(job_id):
                    asked[job_id] = moment
                    name = house.client.promises[job_id].spec["name"]
                    # From now on it may not succeed any more.
                    cancelled = frozenset({Status.CANCELLED})
                    house.expected[name] = replace(house.expected[name], allowed=cancelled)
            house.wait_for_end(ignored_limit_seconds + 30)
        time.sleep(5.5)  # whoever lives on is seen
        history, wrong = house.judged()
    graceful, ignored = _latencies(history, asked)
    return Outcome(
        f"cancelled, a lease of {float(settings.get('STILLHOUSE_LEASE_SECONDS', 60)):g} s",
        plan.database,
        plan.seed,
        number,
        len(asked),
        time.monotonic() - began,
        wrong,
        {
            "cancelled": Figure(graceful, GRACEFUL_LIMIT_SECONDS),
            "cancelled though ignored": Figure(ignored, ignored_limit_seconds),
        },
        {"survivors": len(history.survivors)},
    )


def _post(house: FaultHouse, name: str, *, ignoring: bool) -> str:
    spec, expected = rehearsal(name, 1, STEPS, ignoring=ignoring)
    either = frozenset({Status.CANCELLED, Status.SUCCEEDED})
    return house.post(spec, Expected(either, expected.student))


def _latencies(history: History, asked: dict[str, float]) -> tuple[list[float], list[float]]:
    """Return the seconds from wish to end: of trainers that obey, and of those that do not."""
    graceful: list[float] = []
    ignored: list[float] = []
    for job_id, moment in asked.items():
        job = history.jobs[job_id]
        seconds = max(job.events[-1].at - moment, 0.0)
        is_even = int(job.name.rsplit("-", 1)[1]) % 2 == 0
        (ignored if is_even else graceful).append(seconds)
    return graceful, ignored
