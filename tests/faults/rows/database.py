"""PostgreSQL ends at once and comes back, or loses connections in the middle of a commit."""

import threading
import time
from collections import Counter
from random import Random

from sqlalchemy import exists, select

from app.db.models import JobEvent
from tests.faults.history import History
from tests.faults.houses import LEASE_SECONDS, SHORT, FaultHouse, open_house
from tests.faults.kills import pause
from tests.faults.oracle import SERVICE_AWAY
from tests.faults.outcome import Outcome, Plan
from tests.faults.servers import Postgres
from tests.faults.specs import rehearsal
from tests.house import STARTUP_SECONDS

LONG_STEPS = 400
SHORT_STEPS = 40
MOST_OPEN = 6
LAST_SECONDS = 90
LOST = "The worker was lost"


def run(plan: Plan) -> Outcome:
    """Post all the while; after each fault the service goes on, and nobody's job is taken."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    with open_house("postgres", SHORT, sabotage=plan.sabotage) as house:
        assert house.postgres is not None
        house.touched = None
        stop = threading.Event()
        poster = threading.Thread(target=_post, args=[house, plan, stop])
        poster.start()
        try:
            _wait_until_one_runs(house)
            # The others join it, with jobs that outlast a fault.
            time.sleep(3)
            for number in range(plan.faults):
                _strike(house.postgres, random, number)
                # Long enough for a reaper without patience.
                pause(random, 1.5 * LEASE_SECONDS, 2.5 * LEASE_SECONDS)
        finally:
            stop.set()
            poster.join()
        house.wait_for_end(LAST_SECONDS)
        history, wrong = house.judged()
        wrong += _taken_from_the_healthy(history)
        house.is_kept = bool(wrong)
        cuts = house.postgres.proxy.num_cut
    statuses = Counter(answer.status for answer in history.answers)
    return Outcome(
        "PostgreSQL restarted, cut in mid-commit",
        plan.database,
        plan.seed,
        len(history.jobs),
        plan.faults,
        time.monotonic() - began,
        wrong,
        counts={"answers": sum(statuses.values()), "503s": statuses[SERVICE_AWAY], "cuts": cuts},
    )


def _wait_until_one_runs(house: FaultHouse) -> None:
    """Wait for a trainer that has begun: what nobody runs, nobody can take from the healthy."""
    begun = select(exists().where(JobEvent.type == "job.phase_started"))
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        with house.database.read() as session:
            if session.scalar(begun):
                return
        time.sleep(0.1)


def _strike(postgres: Postgres, random: Random, number: int) -> None:
    """Restart the server, or cut some commits, by turns."""
    if number % 2:
        for _ in range(random.randint(1, 4)):
            postgres.proxy.cut_next_commit(before=random.random() < 0.5)
            pause(random, 0.0, 0.5)
        return
    postgres.stop_at_once()
    # Every other time for longer than a lease.
    time.sleep(0.2 if number % 4 else LEASE_SECONDS + 1.5)
    postgres.start_again()


def _post(house: FaultHouse, plan: Plan, stop: threading.Event) -> None:
    """Keep some jobs waiting, long ones and short ones, and ask for each."""
    open_ids: list[str] = []
    number = 0
    while not stop.is_set() or number < plan.jobs:
        open_ids = [
            job_id for job_id in open_ids if house.client.job(job_id)["finished_at"] is None
        ]
        if len(open_ids) < MOST_OPEN:
            number += 1
            steps = LONG_STEPS if number % 3 == 0 else SHORT_STEPS
            spec = rehearsal(f"database-{plan.seed}-{number}", number, steps)
            open_ids.append(house.post(*spec))
        stop.wait(0.3)


def _taken_from_the_healthy(history: History) -> list[str]:
    """Nobody kills workers here: only what never came to begin may be taken back.

    Such an attempt's claim was committed, and its worker never learnt of it.
    """
    found = []
    for job in history.jobs.values():
        begun = {event.fence for event in job.events if event.type == "job.phase_started"}
        taken = [event for event in job.events if event.message.startswith(LOST)]
        found += [
            f"{job.name}: attempt {event.fence} was taken from a healthy worker"
            for event in taken
            if event.fence in begun
        ]
    return found
