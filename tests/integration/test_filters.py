"""Lists of jobs by what they have, on both databases."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.contracts.job import Status
from app.contracts.projects import Quotas
from app.db import verbs, workers
from app.db.lifecycle import lock
from app.db.session import Database
from app.db.wishes import cancel, edit
from app.services.filters import Filters
from app.services.installation import list_workers, read_queue
from app.services.jobs import list_jobs
from app.services.quotas import set_quotas
from tests.jobs import PROJECT_ID, queued

ODD = ["a.b", 'a"b', "a'b", "$", "a[0]", "*", "ключ", "🔑", "a b", "\\", "%", "a\\u0062", "null"]


def ids(database: Database, **wanted: Any) -> set[str]:  # noqa: ANN401 (filters)
    page = list_jobs(database, PROJECT_ID, None, 100, Filters(**wanted))
    return {job.id for job in page.data}


def made(database: Database, **changes: Any) -> str:  # noqa: ANN401 (what a client may edit)
    job_id = queued(database)
    with database.write() as session:
        edit(session, lock(session, job_id), changes)
    return job_id


def test_metadata_is_found_by_any_key_and_value(database: Database) -> None:
    jobs = {key: made(database, metadata={key: f"{key} value", "all": "x"}) for key in ODD}
    for key, job_id in jobs.items():
        assert ids(database, metadata={key: f"{key} value"}) == {job_id}, key
        assert ids(database, metadata={key: f"{key} value", "all": "x"}) == {job_id}, key
        assert ids(database, metadata={key: "x"}) == set(), key
        assert ids(database, metadata={key: f"{key} value", "all": "y"}) == set(), key
    assert ids(database, metadata={"all": "x"}) == set(jobs.values())
    assert ids(database, metadata={"' OR 1=1 --": "x"}) == set()


def test_what_is_given_must_all_hold(database: Database) -> None:
    first, second = made(database, name="same"), made(database, name="same")
    other = made(database, name="other")
    with database.write() as session:
        cancel(session, lock(session, second), kill=False)
    assert ids(database, name="same") == {first, second}
    assert ids(database, name="same", statuses=(Status.CANCELLED,)) == {second}
    assert ids(database, statuses=(Status.CANCELLED, Status.QUEUED)) == {first, second, other}
    assert ids(database, parent_id=first) == set()
    assert ids(database, name="sam%") == set()


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))]
)
def test_moments_are_compared_whatever_their_zone(database: Database, zone: timezone) -> None:
    job_id = queued(database)
    page = list_jobs(database, PROJECT_ID, None, 1, Filters())
    moment: datetime = page.data[0].created_at.astimezone(zone)
    later = moment + timedelta(microseconds=1)
    assert ids(database, created_after=moment, created_before=later) == {job_id}
    assert ids(database, created_after=later) == ids(database, created_before=moment) == set()


def test_the_queue_says_how_many_wait_and_why(database: Database) -> None:
    assert read_queue(database, PROJECT_ID).oldest_queued_at is None
    first = queued(database, gpus=1)
    queued(database, gpus=0)
    assert read_queue(database, PROJECT_ID).waiting["no_worker"] == 2
    workers.see(database, "worker-1", "host", 0)
    state = read_queue(database, PROJECT_ID)
    assert (state.jobs[Status.QUEUED], state.jobs[Status.RUNNING]) == (2, 0)
    assert state.waiting == {"no_worker": 1, "capacity": 1, "quota": 0, "backoff": 0}
    oldest = list_jobs(database, PROJECT_ID, None, 9, Filters()).data[-1]
    assert (oldest.id, oldest.queued_at) == (first, state.oldest_queued_at)
    assert read_queue(database, "another").jobs == dict.fromkeys(Status, 0)
    with database.write() as session:
        set_quotas(session, PROJECT_ID, Quotas(running_jobs=0))
    assert read_queue(database, PROJECT_ID).waiting["quota"] == 2


def test_workers_are_listed_with_their_jobs_but_not_another_projects(database: Database) -> None:
    queued(database)
    workers.see(database, "worker-1", "b", 1)
    workers.see(database, "worker-2", "a", 0)
    with database.write() as session:
        job = verbs.claim(session, "worker-1", 1, 60)
        assert job is not None
    mine, foreign = list_workers(database, PROJECT_ID).data, list_workers(database, "other").data
    told = [(one.id, one.gpus, one.is_there, one.is_busy, one.job_id) for one in mine]
    assert told == [("worker-2", 0, True, False, None), ("worker-1", 1, True, True, job.id)]
    assert [(one.is_busy, one.job_id) for one in foreign] == [(False, None), (True, None)]
