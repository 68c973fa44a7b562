"""New jobs asked for at once: by requests that race, and while what they need is deleted."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from app.config import Settings
from app.contracts.job import JobSpec
from app.contracts.requests import Changes
from app.db import lifecycle, wishes
from app.db.models import IdempotencyKey, Job, Knowledge, KnowledgeFile
from app.db.session import Database, database_now
from app.errors import InvalidPayload, KeyReused, NotFound
from app.queue import Queue
from app.reconciler import Reconciler
from app.services import deletion, jobs, posting
from app.services.idempotency import KEPT_FOR, Answer, Repeatable, once
from app.services.ownership import find_to_change, find_to_name
from tests.jobs import PROJECT_ID, SPEC
from tests.unit.app.refused import put_knowledge

LONG_ENOUGH_SECONDS = 0.3
"""To be sure that the other transaction waits."""
LONGEST_SECONDS = 30
"""That a thread waits for the others, one of which may have failed."""
NUM_THREADS = 20
KEYS = [f"key-{number}" for number in range(5)]


def request(key: str = "key-1", body_digest: str = "1" * 64) -> Repeatable:
    return Repeatable("/v1/distillation/jobs", key, body_digest)


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def waits(future: Future[Any]) -> bool:
    time.sleep(LONG_ENOUGH_SECONDS)
    return not future.done()


def job_ids(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Job.id)))


def cancelled(database: Database, queue: Queue, spec: JobSpec = SPEC) -> str:
    job_id = posting.create(database, queue, PROJECT_ID, spec).made_id
    with database.write() as session:
        wishes.cancel(session, lifecycle.lock(session, job_id), kill=False)
    return job_id


@pytest.mark.slow
def test_requests_that_race_with_one_key_make_exactly_one_job(
    database: Database, queue: Queue
) -> None:
    together = threading.Barrier(NUM_THREADS, timeout=LONGEST_SECONDS)

    def post(_: int) -> list[Answer]:
        answers = []
        for key in KEYS:
            together.wait()
            answers.append(posting.create(database, queue, PROJECT_ID, SPEC, request(key)))
        return answers

    with ThreadPoolExecutor(NUM_THREADS) as executor:
        answers = [answer for each in executor.map(post, range(NUM_THREADS)) for answer in each]

    made = [answer for answer in answers if not answer.is_replayed]
    assert len(made) == len(KEYS)
    assert job_ids(database) == {answer.made_id for answer in made}
    times = Counter(answer.content for answer in answers)
    assert times == {answer.content: NUM_THREADS for answer in made}


@pytest.mark.slow
def test_bodies_that_race_with_one_key_make_one_job_and_else_are_refused(
    database: Database, queue: Queue
) -> None:
    together = threading.Barrier(NUM_THREADS, timeout=LONGEST_SECONDS)

    def post(number: int) -> str:
        together.wait()
        body = f"{number % 2}" * 64
        try:
            posting.create(database, queue, PROJECT_ID, SPEC, request(body_digest=body))
        except KeyReused:
            return "refused"
        return body

    with ThreadPoolExecutor(NUM_THREADS) as executor:
        outcomes = Counter(executor.map(post, range(NUM_THREADS)))

    assert sorted(outcomes.values()) == [NUM_THREADS // 2, NUM_THREADS // 2]
    assert outcomes["refused"] == NUM_THREADS // 2
    assert len(job_ids(database)) == 1


@pytest.mark.parametrize("is_made", [True, False])
def test_a_request_waits_for_the_end_of_the_one_before_it_and_makes_what_that_did_not(
    postgres_database: Database, aside: ThreadPoolExecutor, queue: Queue, *, is_made: bool
) -> None:
    with suppress(ConnectionError), postgres_database.write() as session:
        once(session, PROJECT_ID, request(), lambda: '{"id": "first"}')
        second = aside.submit(posting.create, postgres_database, queue, PROJECT_ID, SPEC, request())
        assert waits(second)
        if not is_made:
            raise ConnectionError

    answer = second.result()
    assert answer.is_replayed == is_made
    assert job_ids(postgres_database) == (set() if is_made else {answer.made_id})


def test_a_job_that_is_deleted_while_it_is_to_be_retried_is_not_found(
    postgres_database: Database, aside: ThreadPoolExecutor, queue: Queue
) -> None:
    parent = cancelled(postgres_database, queue)
    with postgres_database.write() as session:
        wishes.delete_job(session, find_to_change(session, Job, PROJECT_ID, parent))
        retry = aside.submit(posting.retry, postgres_database, queue, PROJECT_ID, parent, request())
        pause = aside.submit(jobs.pause, postgres_database, PROJECT_ID, parent)
        assert waits(retry)
        assert waits(pause)

    for late in (retry, pause):
        with pytest.raises(NotFound):
            late.result()
    assert job_ids(postgres_database) == set()


def test_a_job_is_not_deleted_before_the_retry_that_names_it_is_there(
    postgres_database: Database, aside: ThreadPoolExecutor, queue: Queue
) -> None:
    parent = cancelled(postgres_database, queue)
    with postgres_database.write() as session:
        find_to_name(session, Job, PROJECT_ID, parent)
        end = aside.submit(deletion.delete_job, postgres_database, PROJECT_ID, parent)
        assert waits(end)
        child = posting.clone(postgres_database, queue, PROJECT_ID, parent, Changes(), request=None)

    end.result()
    assert job_ids(postgres_database) == {child.made_id}
    shown = jobs.read(postgres_database, PROJECT_ID, child.made_id)
    assert (shown.parent_id, shown.version) == (None, 2)


def test_a_clone_and_the_deletion_of_the_knowledge_it_names_do_not_wait_for_each_other(
    postgres_database: Database, aside: ThreadPoolExecutor, queue: Queue
) -> None:
    knowledge = put_knowledge(postgres_database)
    teacher = {"source": "knowledge", "knowledge": knowledge}
    spec = JobSpec.model_validate({**SPEC.model_dump(mode="json"), "teacher": teacher})
    parent = cancelled(postgres_database, queue, spec)
    with postgres_database.write() as session:
        found = find_to_change(session, Knowledge, PROJECT_ID, knowledge)
        clone = aside.submit(
            posting.clone,
            postgres_database,
            queue,
            PROJECT_ID,
            parent,
            Changes(),
            request=request(),
        )
        assert waits(clone)
        wishes.forget_knowledge(session, knowledge)
        session.execute(delete(KnowledgeFile))
        session.delete(found)

    with pytest.raises(InvalidPayload) as refused:
        clone.result()
    assert [problem.code for problem in refused.value.problems] == ["unknown_knowledge"]


def test_an_answer_is_kept_for_a_day_and_then_removed(database: Database, queue: Queue) -> None:
    def post(key: str) -> Answer:
        return posting.create(database, queue, PROJECT_ID, SPEC, request(key))

    old, young = post("old"), post("young")
    for key, age in (("old", KEPT_FOR), ("young", KEPT_FOR - timedelta(minutes=1))):
        with database.write() as session:
            made = database_now(session) - age
            session.execute(
                update(IdempotencyKey).where(IdempotencyKey.key == key).values(created_at=made)
            )

    Reconciler(database, queue, Settings()).tick()

    with database.read() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["young"]
    assert post("young") == Answer(young.content, is_replayed=True)
    assert not post("old").is_replayed
    assert old.made_id in job_ids(database)
