"""A worker freezes in the middle of a transaction, with its job's row locked: who waits for it?"""

import time
from random import Random

from sqlalchemy import text

from tests.faults.houses import SHORT, FaultHouse, open_house
from tests.faults.kills import pause
from tests.faults.outcome import Figure, Outcome, Plan
from tests.faults.processes import Attempt, WorkerFamily
from tests.faults.rows.stop import gaps, wait_until_taken_over
from tests.faults.specs import rehearsal

NUM_WORKERS = 4
STEPS = 1500
TRIES_SECONDS = 60
LIMIT_SECONDS = 30.0
OPEN_TRANSACTIONS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event = 'ClientRead' AND xact_start < clock_timestamp() - interval '20 ms'"
)
"""Those that wait for their client, and have done so for longer than any of ours should."""


def run(plan: Plan) -> Outcome:
    """Freeze one of two workers in a transaction and kill the other, as often as planned."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    frozen: list[tuple[Attempt, float]] = []
    lost: list[tuple[Attempt, float]] = []
    posted = 0
    with open_house("postgres", SHORT, NUM_WORKERS, plan.sabotage) as house:
        assert house.touched is not None
        while len(frozen) < plan.faults:
            while len(house.open_jobs()) < 2:
                posted += 1
                house.post(*rehearsal(f"freeze-{plan.seed}-{posted}", posted, STEPS))
            pause(random, 2.0, 4.0)
            working = [family for family in house.families() if family.attempt is not None]
            if len(working) != 2:
                continue
            one, other = (family.attempt for family in working)
            assert one is not None
            assert other is not None
            with house.watch.excusing(one):
                if not _freeze(house, working[0], random):
                    continue
                house.touched |= {one.key, other.key}
                frozen.append((one, time.time()))
                working[1].child.kill()
                lost.append((other, time.time()))
                for attempt in (other, one):
                    wait_until_taken_over(house, attempt)
                working[0].child.resume()
        house.wait_for_end(120)
        history, wrong = house.judged()
    return Outcome(
        "frozen in mid-transaction",
        "postgres",
        plan.seed,
        posted,
        len(frozen),
        time.monotonic() - began,
        wrong,
        {
            "frozen worker to running again": Figure(gaps(history, frozen), LIMIT_SECONDS),
            "another dead worker to running again": Figure(gaps(history, lost), LIMIT_SECONDS),
        },
    )


def _freeze(house: FaultHouse, family: WorkerFamily, random: Random) -> bool:
    """Stop and continue a worker's supervisor until it stops with a transaction open."""
    deadline = time.monotonic() + TRIES_SECONDS
    while time.monotonic() < deadline:
        family.child.suspend()
        # Looked at twice: some other's transaction is over by then.
        for _ in range(2):
            time.sleep(0.03)
            with house.database.read() as session:
                num_open = session.scalar(OPEN_TRANSACTIONS)
            if not num_open:
                break
        else:
            return True
        family.child.resume()
        pause(random, 0.0, 0.03)
    return False
