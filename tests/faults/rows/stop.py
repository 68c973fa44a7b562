"""SIGSTOP of a worker for longer than its lease, then SIGCONT: it must change nothing any more."""

import contextlib
import time
from collections.abc import Iterator
from random import Random

import psutil

from app.db.models import Job
from tests.faults.history import History
from tests.faults.houses import SHORT, FaultHouse, open_house
from tests.faults.kills import pause
from tests.faults.oracle import FINAL
from tests.faults.outcome import Figure, Outcome, Plan
from tests.faults.processes import Attempt, WorkerFamily
from tests.faults.specs import rehearsal

NUM_WORKERS = 4
AT_A_TIME = 2
"""Workers that are stopped together; the others are free for their jobs."""
STEPS = 250
TAKEN_OVER_SECONDS = 60
JUST_SECONDS = 1.0
LIMIT_SECONDS = 5.0
REFUSED = '"event": "fence_lost"'


def run(plan: Plan) -> Outcome:
    """Stop workers until the number is reached, then see every job through."""
    began = time.monotonic()
    random = Random(plan.seed)  # noqa: S311 (a run that can be had again)
    silent: list[tuple[Attempt, float]] = []
    posted = 0
    with open_house(plan.database, SHORT, NUM_WORKERS, plan.sabotage) as house:
        while len(silent) < plan.faults:
            while len(house.open_jobs()) < AT_A_TIME:
                posted += 1
                house.post(*rehearsal(f"stop-{plan.seed}-{posted}", posted, STEPS))
            pause(random, 0.5, 2.0)
            working = [family for family in house.families() if family.attempt is not None]
            silent += _freeze(house, random, working[: plan.faults - len(silent)])
            house.touched = {attempt.key for attempt, _ in silent}
        house.wait_for_end(60)
        history, wrong = house.judged()
        refused = sum(
            path.read_text(errors="replace").count(REFUSED)
            for path in house.house.folder.glob("worker-*.log")
        )
    return Outcome(
        "SIGSTOP longer than the lease",
        plan.database,
        plan.seed,
        posted,
        len(silent),
        time.monotonic() - began,
        wrong,
        # SQLite has one lock for all: who freezes while writing holds up everybody.
        {
            "silent worker to running again": Figure(
                gaps(history, silent), LIMIT_SECONDS if plan.database == "postgres" else None
            )
        },
        {"late writes refused": refused},
    )


def _freeze(
    house: FaultHouse, random: Random, families: list[WorkerFamily]
) -> list[tuple[Attempt, float]]:
    """Stop workers until their jobs are others', then let them go on; return who was stopped."""
    silent = []
    with contextlib.ExitStack() as stack:
        for family in families:
            assert family.attempt is not None
            stack.enter_context(house.watch.excusing(family.attempt))
            stack.enter_context(_stopped(_chosen(family, random)))
            silent.append((family.attempt, time.time()))
        for attempt, _ in silent:
            wait_until_taken_over(house, attempt)
        pause(random, 0.0, 1.0)
    # Time for the writes that they had in mind.
    time.sleep(1.5)
    return silent


def _chosen(family: WorkerFamily, random: Random) -> list[psutil.Process]:
    """Return what to stop: the supervisor alone, with its trainer, or Celery's process, too."""
    assert family.attempt is not None
    everything = [family.child, family.attempt.process, family.main]
    return everything[: random.randint(1, len(everything))]


@contextlib.contextmanager
def _stopped(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    yield
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def wait_until_taken_over(house: FaultHouse, attempt: Attempt) -> None:
    """Wait until an attempt's job is another's, or has ended; but not for ever."""
    deadline = time.monotonic() + TAKEN_OVER_SECONDS
    while time.monotonic() < deadline:
        with house.database.read() as session:
            job = session.get_one(Job, attempt.job_id)
        if job.fence > attempt.fence or job.finished_at is not None:
            return
        time.sleep(0.05)


def gaps(history: History, lost: list[tuple[Attempt, float]]) -> list[float]:
    """Return how long each job waited for its next attempt after a moment; an hour if for ever.

    An attempt that came to its end just before it could be harmed has none.
    """
    waits = []
    for attempt, moment in lost:
        events = history.jobs[attempt.job_id].events
        ended = events[-1].type in FINAL and events[-1].fence == attempt.fence
        if ended and events[-1].at - moment < JUST_SECONDS:
            continue
        claims = [
            event.at
            for event in events
            if event.type == "job.claimed" and event.fence == attempt.fence + 1
        ]
        waits.append(claims[0] - moment if claims else 3600.0)
    return waits
