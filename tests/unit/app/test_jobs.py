"""Jobs over HTTP: created, listed, read, cancelled."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app.contracts.job import Job
from app.db import workers
from app.db.models import Job as JobRow
from app.db.models import Worker
from app.db.session import database_now
from app.db.table import Table
from app.main import create_app
from app.queue import Queue
from app.services.surroundings import SILENT_AFTER
from tests.unit.app.conftest import JOBS, Api, settings, spec


def test_a_created_job_is_queued_and_found_at_its_location(api: Api) -> None:
    answer = api.client.post(JOBS, json=spec(name="first", metadata={"team": "vision"}))
    assert answer.status_code == 201
    job = Job.model_validate(answer.json())
    assert job.id.startswith("distjob-")
    assert (job.status, job.desired_status, job.version) == ("queued", "running", 1)
    assert (job.attempt, job.max_attempts, job.files) == (0, 3, [])
    assert (job.name, job.metadata) == ("first", {"team": "vision"})
    assert api.client.get(answer.headers["Location"]).json() == answer.json()


def test_validating_queues_nothing(api: Api) -> None:
    answer = api.client.post(f"{JOBS}?validate_only=true", json=spec())
    assert answer.status_code == 200
    assert answer.json()["resolved_spec"]["training"]["epochs"] == 30
    assert api.client.get(JOBS).json()["data"] == []


def test_a_job_is_created_with_the_queue_down(api: Api) -> None:
    assert api.post_job()["status"] == "queued"


def test_a_created_job_rings_the_doorbell(tmp_path: Path, broker_url: str) -> None:
    app = create_app(settings(tmp_path, broker_url=broker_url))
    Table.metadata.create_all(app.state.parts.database.engine)
    queue = Queue(broker_url)
    with TestClient(app) as client:
        api = Api(app, client, tmp_path)
        client.headers.update(api.key())
        client.post(f"{JOBS}?validate_only=true", json=spec())
        assert queue.is_empty()
        api.post_job()
        assert not queue.is_empty()
    queue.close()


def test_jobs_are_listed_newest_first_page_by_page(api: Api) -> None:
    ids = [api.post_job()["id"] for _ in range(5)][::-1]
    first = api.client.get(f"{JOBS}?limit=2").json()
    assert [job["id"] for job in first["data"]] == ids[:2]
    assert (first["object"], first["first_id"], first["last_id"]) == ("list", ids[0], ids[1])
    assert first["has_more"] is True
    second = api.client.get(f"{JOBS}?limit=3&after={ids[1]}").json()
    assert [job["id"] for job in second["data"]] == ids[2:]
    assert second["has_more"] is False
    beyond = api.client.get(f"{JOBS}?after={ids[-1]}").json()
    assert (beyond["data"], beyond["first_id"], beyond["last_id"]) == ([], None, None)


def test_a_page_has_20_jobs_unless_asked_and_100_at_most(api: Api) -> None:
    for _ in range(21):
        api.post_job()
    assert len(api.client.get(JOBS).json()["data"]) == 20
    assert len(api.client.get(f"{JOBS}?limit=100").json()["data"]) == 21
    assert api.client.get(f"{JOBS}?limit=101").status_code == 400


def test_jobs_are_listed_by_status(api: Api) -> None:
    running, queued = api.post_job()["id"], api.post_job()["id"]
    api.claim()
    for status, ids in [("running", [running]), ("queued", [queued]), ("failed", [])]:
        listed = api.client.get(f"{JOBS}?status={status}").json()["data"]
        assert [job["id"] for job in listed] == ids


def test_an_unchanged_job_is_not_sent_again(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    etag = api.client.get(path).headers["ETag"]
    assert etag.startswith('"')
    same = api.client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    api.client.post(f"{path}/cancel")
    changed = api.client.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


def test_the_entity_tag_moves_when_only_the_reason_to_wait_does(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    etag = api.client.get(path).headers["ETag"]
    workers.see(api.database, "worker-1", "host", 0)
    changed = api.client.get(path, headers={"If-None-Match": etag})
    assert changed.json()["waiting_reason"] == "capacity"


def test_a_job_waits_for_a_worker_that_could_run_it(api: Api) -> None:
    anywhere = f"{JOBS}/{api.post_job()['id']}"
    gpu = f"{JOBS}/{api.post_job(resources={'gpus': 1})['id']}"

    def reasons() -> tuple[str, str]:
        both = [api.client.get(path).json()["waiting_reason"] for path in (anywhere, gpu)]
        return both[0], both[1]

    assert reasons() == ("no_worker", "no_worker")
    workers.see(api.database, "worker-1", "host", 0)
    assert reasons() == ("capacity", "no_worker")
    workers.see(api.database, "worker-2", "host", 1)
    assert reasons() == ("capacity", "capacity")
    with api.database.write() as session:
        silent = database_now(session) - SILENT_AFTER - timedelta(seconds=1)
        session.execute(update(Worker).values(seen_at=silent))
    assert reasons() == ("no_worker", "no_worker")


def test_a_job_that_backs_off_says_so_and_a_running_one_waits_for_nothing(api: Api) -> None:
    job_id = api.post_job()["id"]
    with api.database.write() as session:
        later = database_now(session) + timedelta(hours=1)
        session.execute(update(JobRow).values(not_before=later))
    assert api.client.get(f"{JOBS}/{job_id}").json()["waiting_reason"] == "backoff"
    with api.database.write() as session:
        session.execute(update(JobRow).values(not_before=database_now(session)))
    api.claim()
    assert api.client.get(f"{JOBS}/{job_id}").json()["waiting_reason"] is None


def test_a_job_that_has_succeeded_shows_its_result_files_and_models(api: Api) -> None:
    job_id = api.post_job()["id"]
    model = api.succeed(api.claim(), {"student/model.onnx": b"xyz"})
    job = Job.model_validate(api.client.get(f"{JOBS}/{job_id}").json())
    assert (job.status, job.student_model, job.teacher_model) == ("succeeded", model, None)
    assert [(file.path, file.bytes) for file in job.files] == [("student/model.onnx", 3)]
    assert job.result is not None
    assert job.result.student.test.accuracy == 0.5


def test_cancelling_a_queued_job_ends_it_and_again_changes_nothing(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    cancelled = api.client.post(f"{path}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert cancelled.json()["finished_at"] is not None
    assert api.client.post(f"{path}/cancel", json={}).json() == cancelled.json()


@pytest.mark.parametrize("mode", ["graceful", "kill"])
def test_cancelling_a_running_job_asks_its_worker(api: Api, mode: str) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    api.claim()
    job = api.client.post(f"{path}/cancel", json={"mode": mode}).json()
    assert (job["status"], job["desired_status"]) == ("running", "cancelled")
    with api.database.read() as session:
        assert session.get_one(JobRow, job["id"]).kill_requested == (mode == "kill")


def test_a_job_that_has_succeeded_cannot_be_cancelled(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    api.succeed(api.claim(), {})
    answer = api.client.post(f"{path}/cancel")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "wrong_state"
    assert answer.headers["x-should-retry"] == "false"


def test_an_unknown_way_to_cancel_is_refused_with_the_nearest(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    answer = api.client.post(f"{path}/cancel", json={"mode": "gracefull"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/mode"
    assert "perhaps 'graceful'" in answer.json()["detail"]
