"""Claim, lease and fence, on both databases."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.contracts.job import DesiredStatus, JobError, Status
from app.db import lifecycle, verbs, wishes
from app.db.lifecycle import Actor, Event, transition
from app.db.models import Job, JobEvent
from app.db.session import Database, database_now
from app.errors import Conflict
from tests.jobs import claimed, queued

ERROR = JobError(code="trainer_crashed", message="It crashed.", retryable=True)


def events(database: Database, job_id: str) -> list[JobEvent]:
    with database.read() as session:
        return list(
            session.scalars(
                select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.number)
            )
        )


def test_a_claim_takes_the_most_important_then_the_oldest(database: Database) -> None:
    first, second, urgent = queued(database), queued(database), queued(database, priority=5)

    assert [claimed(database).id for _ in range(3)] == [urgent, first, second]
    with database.write() as session:
        assert verbs.claim(session, "worker-1", 0, 60) is None


def test_a_claim_raises_fence_attempt_and_version_and_writes_an_event(database: Database) -> None:
    job_id = queued(database)

    job = claimed(database)

    assert (job.status, job.fence, job.attempt, job.version) == (Status.RUNNING, 1, 1, 2)
    assert [(e.number, e.type, e.fence) for e in events(database, job_id)] == [
        (1, "job.created", 0),
        (2, "job.claimed", 1),
    ]


def test_many_workers_at_once_never_claim_one_job_twice(database: Database) -> None:
    jobs = {queued(database) for _ in range(20)}
    taken: list[str] = []

    def work() -> None:
        while True:
            with database.write() as session:
                job = verbs.claim(session, "worker-1", 0, 60)
            if job is None:
                return
            taken.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == sorted(jobs)


def test_a_worker_without_a_gpu_leaves_jobs_that_need_one(database: Database) -> None:
    needs_gpu, any_worker = queued(database, gpus=1), queued(database)

    assert claimed(database, gpus=0).id == any_worker
    with database.write() as session:
        assert verbs.claim(session, "worker-1", 0, 60) is None
    assert claimed(database, gpus=1).id == needs_gpu


def test_a_job_that_backs_off_is_not_claimed_before_its_time(database: Database) -> None:
    queued(database)
    job = claimed(database)
    with database.write() as session:
        verbs.retry(session, verbs.hold(session, job.id, job.fence), ERROR, backoff_seconds=60)

    with database.write() as session:
        assert verbs.claim(session, "worker-1", 0, 60) is None
        waiting = lifecycle.lock(session, job.id)
        wait = waiting.not_before - database_now(session)
    assert timedelta(seconds=50) < wait <= timedelta(seconds=60)


def test_an_old_fence_can_neither_renew_nor_end_the_job(database: Database) -> None:
    queued(database)
    old = claimed(database)
    with database.write() as session:
        verbs.take_back(session, lifecycle.lock(session, old.id))
    new = claimed(database)
    assert (new.id, new.fence) == (old.id, 2)

    with database.write() as session, pytest.raises(verbs.FenceLost):
        verbs.hold(session, old.id, old.fence)
    with database.write() as session:
        verbs.fail(session, verbs.hold(session, new.id, new.fence), ERROR, Actor.HOLDER)
    with database.write() as session, pytest.raises(verbs.FenceLost):
        verbs.hold(session, new.id, new.fence)


def test_events_are_numbered_without_gaps_and_fences_only_rise(database: Database) -> None:
    job_id = queued(database)
    for _ in range(3):
        job = claimed(database)
        with database.write() as session:
            held = verbs.hold(session, job.id, job.fence)
            verbs.record(session, held, Event("job.warning", "Something."))
        with database.write() as session:
            verbs.give_back(session, verbs.hold(session, job.id, job.fence))

    written = events(database, job_id)
    assert [event.number for event in written] == list(range(1, 11))
    assert [event.fence for event in written] == sorted(event.fence for event in written)


def test_failures_are_charged_and_the_last_one_fails_the_job(database: Database) -> None:
    job_id = queued(database)
    for expected in (Status.QUEUED, Status.QUEUED, Status.FAILED):
        job = claimed(database)
        with database.write() as session:
            held = verbs.hold(session, job.id, job.fence)
            verbs.retry(session, held, ERROR, backoff_seconds=0)
            assert held.status == expected

    with database.read() as session:
        failed = session.get_one(Job, job_id)
    assert failed.error is not None
    assert failed.error["code"] == "trainer_crashed"
    assert failed.finished_at is not None
    assert failed.lease_until is None


def test_lost_workers_are_not_charged_until_there_are_too_many(database: Database) -> None:
    job_id = queued(database)
    statuses = []
    for _ in range(verbs.MAX_LOSSES):
        claimed(database)
        with database.write() as session:
            statuses.append(verbs.take_back(session, lifecycle.lock(session, job_id)))

    assert statuses == [Status.QUEUED] * (verbs.MAX_LOSSES - 1) + [Status.FAILED]
    with database.read() as session:
        assert session.get_one(Job, job_id).num_failures == 0


def test_cancelling_a_queued_job_ends_it_at_once_and_for_good(database: Database) -> None:
    job_id = queued(database)
    with database.write() as session:
        wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)
        wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)

    with database.write() as session:
        assert verbs.claim(session, "worker-1", 0, 60) is None
    assert [event.type for event in events(database, job_id)] == ["job.created", "job.cancelled"]


def test_cancelling_a_running_job_is_a_wish_that_the_holder_confirms(database: Database) -> None:
    job_id = queued(database)
    job = claimed(database)
    with database.write() as session:
        wishes.cancel(session, lifecycle.lock(session, job_id), kill=True)

    with database.write() as session:
        held = verbs.hold(session, job.id, job.fence)
        assert (held.status, held.desired_status) == (Status.RUNNING, DesiredStatus.CANCELLED)
        assert held.kill_requested
        verbs.confirm_cancelled(session, held, Actor.HOLDER)
        assert held.status == Status.CANCELLED


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled_not_queued(database: Database) -> None:
    job_id = queued(database)
    claimed(database)
    with database.write() as session:
        wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)
    with database.write() as session:
        assert verbs.take_back(session, lifecycle.lock(session, job_id)) == Status.CANCELLED


def test_a_finished_job_cannot_be_cancelled(database: Database) -> None:
    queued(database)
    job = claimed(database)
    with database.write() as session:
        verbs.fail(session, verbs.hold(session, job.id, job.fence), ERROR, Actor.HOLDER)

    with database.write() as session, pytest.raises(Conflict, match="failed"):
        wishes.cancel(session, lifecycle.lock(session, job.id), kill=False)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.CANCELLED, Status.FAILED])
def test_a_queued_job_cannot_jump_to_an_end_that_is_not_its_actors(
    database: Database, status: Status
) -> None:
    job_id = queued(database)
    with database.write() as session, pytest.raises(AssertionError, match="may not take"):
        transition(session, lifecycle.lock(session, job_id), status, by=Actor.HOLDER, event=None)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"status": "lost"},
        {"status": "running"},
        {"status": "succeeded"},
        {"status": "failed"},
        {"desired_status": "queued"},
        {"lease_until": "now"},
        {"version": 0},
    ],
    ids=str,
)
def test_the_database_itself_refuses_rows_that_make_no_sense(
    database: Database, nonsense: dict[str, object]
) -> None:
    job_id = queued(database)

    def break_it(session: Session) -> None:
        now = database_now(session)
        values = {key: now if value == "now" else value for key, value in nonsense.items()}
        session.execute(update(Job).where(Job.id == job_id).values(**values))

    with pytest.raises(IntegrityError), database.write() as session:
        break_it(session)


def test_a_transaction_that_raises_changes_nothing(database: Database) -> None:
    job_id = queued(database)

    def half(session: Session) -> None:
        verbs.claim(session, "worker-1", 0, 60)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError), database.write() as session:
        half(session)

    with database.read() as session:
        assert session.get_one(Job, job_id).status == Status.QUEUED
    assert len(events(database, job_id)) == 1
