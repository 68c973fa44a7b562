"""Quotas where requests and workers race, on both databases."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from sqlalchemy.orm import Session

from app.config import Settings
from app.contracts.job import Status
from app.contracts.projects import ProjectChanges, Quotas
from app.db import verbs, waiting
from app.db.models import Project
from app.db.quotas import count_jobs, may_run_another
from app.db.session import Database, database_now
from app.errors import QuotaExceeded
from app.queue import Queue
from app.reconciler import Reconciler
from app.services import files, posting, projects, quotas
from app.storage import NUM_PARTS, Storage
from tests.jobs import PROJECT_ID, SPEC, claimed, queued

NUM_THREADS = 20
LONGEST_SECONDS = 30
OTHER_ID = "project-2"


def limit(database: Database, **most: int) -> None:
    with database.write() as session:
        quotas.set_quotas(session, PROJECT_ID, Quotas.model_validate(most))


def add_other_project(database: Database) -> None:
    with database.write() as session:
        session.add(Project(id=OTHER_ID, name="other", created_at=database_now(session)))


def race(each: Callable[[int], str]) -> Counter[str]:
    """Run something in twenty threads that begin together, and count what came of it."""
    together = threading.Barrier(NUM_THREADS, timeout=LONGEST_SECONDS)

    def run(number: int) -> str:
        together.wait()
        return each(number)

    with ThreadPoolExecutor(NUM_THREADS) as executor:
        return Counter(executor.map(run, range(NUM_THREADS)))


def number_of(database: Database, status: Status, project_id: str = PROJECT_ID) -> int:
    with database.read() as session:
        return count_jobs(session, project_id, status)


def test_twenty_posts_at_once_queue_no_more_than_the_quota(
    database: Database, queue: Queue
) -> None:
    limit(database, queued_jobs=7)

    def post(_: int) -> str:
        try:
            posting.create(database, queue, PROJECT_ID, SPEC)
        except QuotaExceeded:
            return "refused"
        return "made"

    assert race(post) == {"made": 7, "refused": NUM_THREADS - 7}
    assert number_of(database, Status.QUEUED) == 7


def test_twenty_uploads_at_once_store_no_more_than_the_quota(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    limit(database, stored_bytes=50)
    storage = Storage(str(tmp_path_factory.mktemp("blobs")))

    def upload(number: int) -> str:
        content = BytesIO(f"{number:010}".encode())
        try:
            files.store_file(database, storage, PROJECT_ID, content, "a.txt", "dataset")
        except QuotaExceeded:
            return "refused"
        return "stored"

    assert race(upload) == {"stored": 5, "refused": NUM_THREADS - 5}
    # Nor do the bytes of those that were refused lie about.
    assert sum(len(blobs) for part in range(NUM_PARTS) for blobs in storage.list_part(part)) == 5


def test_of_twenty_that_set_a_first_quota_at_once_each_does_and_the_last_holds(
    database: Database,
) -> None:
    def set_first(number: int) -> str:
        changes = ProjectChanges(quotas=Quotas(queued_jobs=number))
        projects.update_project(database, PROJECT_ID, changes)
        return "set"

    assert race(set_first) == {"set": NUM_THREADS}
    assert quotas.read_usage(database, PROJECT_ID).queued_jobs.most in range(NUM_THREADS)


def test_twenty_workers_at_once_run_no_more_than_the_quota(database: Database) -> None:
    limit(database, running_jobs=3)
    add_other_project(database)
    for _ in range(NUM_THREADS):
        queued(database)
    for _ in range(NUM_THREADS):
        queued(database, project_id=OTHER_ID)

    def work(number: int) -> str:
        with database.write() as session:
            job = verbs.claim(session, f"worker-{number}", 0, 60)
            return "nothing" if job is None else job.project_id

    at_once = race(work)
    assert number_of(database, Status.RUNNING) == at_once[PROJECT_ID] <= 3
    # One that came while another claimed was told to look again later.
    one_by_one = Counter(work(number) for number in range(NUM_THREADS + 3))

    claims = at_once + one_by_one
    assert claims == {PROJECT_ID: 3, OTHER_ID: NUM_THREADS, "nothing": NUM_THREADS}
    assert number_of(database, Status.RUNNING) == 3


def test_the_last_place_is_looked_for_again_before_it_is_taken(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgres_database
    limit(database, running_jobs=1)
    for _ in range(2):
        queued(database)
    look = may_run_another

    def after_another_has_claimed(session: Session, project_id: str) -> bool:
        monkeypatch.setattr(waiting, "may_run_another", look)
        with database.write() as other:
            assert verbs.claim(other, "worker-2", 0, 60) is not None
        return look(session, project_id)

    monkeypatch.setattr(waiting, "may_run_another", after_another_has_claimed)
    with database.write() as session:
        assert verbs.claim(session, "worker-1", 0, 60) is None
    assert number_of(database, Status.RUNNING) == 1


def test_a_project_at_its_limit_holds_up_no_other(database: Database) -> None:
    limit(database, running_jobs=1)
    add_other_project(database)
    first = queued(database, priority=100)
    for _ in range(3):
        queued(database, priority=100)
    other = queued(database, project_id=OTHER_ID, priority=-100)

    assert [claimed(database).id, claimed(database).id] == [first, other]
    with database.write() as session:
        assert verbs.claim(session, "worker-3", 0, 60) is None
    with database.write() as session:
        verbs.give_back(session, verbs.hold(session, first, 1))
    assert claimed(database).project_id == PROJECT_ID


def test_a_worker_that_is_halted_while_it_claims_holds_up_its_project_alone(
    postgres_database: Database,
) -> None:
    database = postgres_database
    limit(database, running_jobs=2)
    add_other_project(database)
    for _ in range(2):
        queued(database, priority=1)
    other = queued(database, project_id=OTHER_ID)

    with database.write() as session:
        halted = verbs.claim(session, "worker-1", 0, 60)
        assert halted is not None
        assert claimed(database).id == other
    # Its claim done, the second of the two may run.
    assert claimed(database).project_id == PROJECT_ID


def test_a_limit_of_nothing_stops_a_project_and_lifting_it_lets_it_go_on(
    database: Database,
) -> None:
    limit(database, running_jobs=0)
    job_id = queued(database)
    with database.write() as session:
        assert verbs.claim(session, "worker-1", 0, 60) is None
    with database.write() as session:
        quotas.set_quotas(session, PROJECT_ID, Quotas(running_jobs=None))
    assert claimed(database).id == job_id


def test_nobody_is_rung_for_what_may_not_run(database: Database, queue: Queue) -> None:
    limit(database, running_jobs=0)
    queued(database)
    reconciler = Reconciler(database, queue, Settings())
    reconciler.tick()
    assert queue.is_empty()

    limit(database, running_jobs=1)
    reconciler.tick()
    assert not queue.is_empty()
