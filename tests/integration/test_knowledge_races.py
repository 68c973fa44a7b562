"""Knowledge that two want at once, on PostgreSQL, where they really meet."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, select

from app.contracts.job import JobError, JobSpec
from app.contracts.knowledge import Fingerprint, KnowledgeManifest
from app.contracts.knowledge_request import TeacherDigests
from app.db import verbs, wishes
from app.db.lifecycle import Actor
from app.db.models import Job, Knowledge, KnowledgeFile
from app.db.session import Database
from app.errors import Conflict, InvalidPayload
from app.queue import Queue
from app.services import posting
from app.services.deletion import delete_knowledge
from app.services.idempotency import Answer
from tests.jobs import PROJECT_ID, SPEC, claimed, queued
from worker.knowledge import Collected, add_knowledge, hold_knowledge

LONG_ENOUGH_SECONDS = 0.3
"""To be sure that the other transaction waits."""


def manifest(**changes: str) -> KnowledgeManifest:
    parts = dict.fromkeys(Fingerprint.model_fields, "x") | {"views": "plain"} | changes
    return KnowledgeManifest(
        fingerprint=Fingerprint.model_validate(parts),
        task="classification",
        output_names=list("0123456789"),
        storage="float16",
        views=1,
        num_train=10,
        num_held_out=2,
        row_bytes=20,
        shards=[],
    )


def collected(**changes: str) -> Collected:
    files = [KnowledgeFile(path="knowledge.json", bytes=1, sha256="0" * 64)]
    return Collected(manifest(**changes), files, {"/teacher": TeacherDigests("1", "2")})


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def running(database: Database, spec: JobSpec = SPEC) -> Job:
    queued(database, spec=spec)
    return claimed(database)


def publish(database: Database, job: Job, what: Collected) -> str | None:
    with database.write() as session:
        held = verbs.hold(session, job.id, job.fence)
        add_knowledge(session, held, SPEC, what)
        return held.knowledge_id


def published(database: Database) -> str:
    """Let a job publish and end, and return the id of its knowledge."""
    job = running(database)
    knowledge = publish(database, job, collected())
    assert knowledge is not None
    error = JobError(code="crash", message="It fell.", retryable=True)
    with database.write() as session:
        verbs.fail(session, verbs.hold(session, job.id, job.fence), error, Actor.HOLDER)
    return knowledge


def naming(knowledge: str) -> JobSpec:
    teacher = {"source": "knowledge", "knowledge": knowledge}
    return JobSpec.model_validate({**SPEC.model_dump(mode="json"), "teacher": teacher})


def waits(future: Future[Any]) -> bool:
    time.sleep(LONG_ENOUGH_SECONDS)
    return not future.done()


@pytest.mark.parametrize("is_equal", [True, False])
def test_of_two_jobs_that_publish_at_once_one_does_and_the_other_uses_what_is_equal(
    postgres_database: Database, aside: ThreadPoolExecutor, *, is_equal: bool
) -> None:
    first, second = running(postgres_database), running(postgres_database)
    other = collected() if is_equal else collected(dataset="another")
    with postgres_database.write() as session:
        held = verbs.hold(session, first.id, first.fence)
        add_knowledge(session, held, SPEC, collected())
        theirs = aside.submit(publish, postgres_database, second, other)
        assert waits(theirs)
        ours = held.knowledge_id

    assert theirs.result() == (ours if is_equal else None)
    with postgres_database.read() as session:
        (row,) = session.scalars(select(Knowledge))
        files = session.scalars(select(KnowledgeFile.knowledge_id)).all()
    assert (row.id, row.job_id, files) == (ours, first.id, [ours])


def test_knowledge_that_a_worker_is_about_to_use_is_not_deleted(
    postgres_database: Database, aside: ThreadPoolExecutor
) -> None:
    knowledge = published(postgres_database)
    job = running(postgres_database, naming(knowledge))
    with postgres_database.write() as session:
        held = verbs.hold(session, job.id, job.fence)
        assert hold_knowledge(session, held, naming(knowledge)) is not None
        deletion = aside.submit(delete_knowledge, postgres_database, PROJECT_ID, knowledge)
        assert waits(deletion)

    with pytest.raises(Conflict):
        deletion.result()


def test_a_job_cannot_come_to_name_what_is_being_deleted(
    postgres_database: Database, aside: ThreadPoolExecutor, queue: Queue
) -> None:
    knowledge = published(postgres_database)

    def create() -> Answer:
        return posting.create(postgres_database, queue, PROJECT_ID, naming(knowledge))

    with postgres_database.write() as session:
        wishes.forget_knowledge(session, knowledge)
        session.execute(delete(KnowledgeFile))
        session.execute(delete(Knowledge))
        creation = aside.submit(create)
        assert waits(creation)

    with pytest.raises(InvalidPayload) as refused:
        creation.result()
    assert [problem.code for problem in refused.value.problems] == ["unknown_knowledge"]
