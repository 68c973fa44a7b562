"""Quotas: what is refused at the request, how it is told, and what is counted."""

from datetime import timedelta
from typing import Any, NoReturn

import pytest
from obstore.exceptions import BaseError
from sqlalchemy import select

from app.db import verbs
from app.db.blobs import UnnamedBlob
from app.db.models import Project
from app.services import collection
from app.services.collection import BlobCollector
from app.storage import NUM_PARTS
from tests.unit.app.conftest import JOBS, Api, spec
from tests.unit.app.refused import knowledge_of


def limit(api: Api, **most: int | None) -> None:
    with api.database.read() as session:
        named = select(Project.id).where(Project.name == "default")
        project_id = session.scalars(named).one()
    answer = api.client.patch(f"/v1/projects/{project_id}", json={"quotas": most})
    assert answer.status_code == 200, answer.text


def usage(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.client.get("/v1/usage").json()
    return found


def test_a_job_over_the_quota_is_refused_and_told_what_to_do(api: Api) -> None:
    limit(api, queued_jobs=1)
    job = api.post_job()

    answer = api.client.post(JOBS, json=spec())

    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["x-should-retry"] == "false"
    body = answer.json()
    assert body["error"]["code"] == "quota_exceeded"
    assert "1 jobs of this project are queued, and 1 may be" in body["detail"]
    assert "cancel one" in body["detail"]
    assert api.client.post(f"{JOBS}/{job['id']}/clone").status_code == 429
    api.client.post(f"{JOBS}/{job['id']}/cancel")
    assert api.client.post(f"{JOBS}/{job['id']}/retry").status_code == 201


def test_a_job_that_is_replayed_is_no_further_job(api: Api) -> None:
    limit(api, queued_jobs=1)
    once = {"Idempotency-Key": "one"}
    first = api.client.post(JOBS, json=spec(), headers=once)
    again = api.client.post(JOBS, json=spec(), headers=once)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()


def test_resuming_does_not_lead_round_the_quota(api: Api) -> None:
    limit(api, queued_jobs=1)
    paused = api.post_job()["id"]
    api.client.post(f"{JOBS}/{paused}/pause")
    waits = api.post_job()["id"]

    assert api.client.post(f"{JOBS}/{paused}/resume").status_code == 429
    assert api.client.get(f"{JOBS}/{paused}").json()["status"] == "paused"
    api.client.post(f"{JOBS}/{waits}/cancel")
    assert api.client.post(f"{JOBS}/{paused}/resume").json()["status"] == "queued"
    # Asked again, it changes nothing, and needs no room.
    assert api.client.post(f"{JOBS}/{paused}/resume").status_code == 200


def test_to_take_back_a_pause_of_a_job_that_runs_needs_no_room(api: Api) -> None:
    runs = api.post_job()["id"]
    api.claim()
    api.client.post(f"{JOBS}/{runs}/pause")
    limit(api, queued_jobs=0)

    assert api.client.post(f"{JOBS}/{runs}/resume").json()["desired_status"] == "running"


def test_a_job_waits_for_its_projects_quota_and_says_so(api: Api) -> None:
    limit(api, running_jobs=1)
    api.post_job()
    held = api.claim()
    waits = api.post_job()["id"]

    def claim() -> str | None:
        with api.database.write() as session:
            job = verbs.claim(session, "worker-2", 0, 60)
            return None if job is None else job.id

    assert claim() is None
    shown = api.client.get(f"{JOBS}/{waits}")
    assert (shown.json()["status"], shown.json()["waiting_reason"]) == ("queued", "quota")
    assert shown.headers["ETag"].endswith('quota"')
    api.succeed(held, {})
    assert api.client.get(f"{JOBS}/{waits}").json()["waiting_reason"] == "no_worker"
    assert claim() == waits


def test_an_upload_over_the_quota_is_refused_before_it_is_stored(api: Api) -> None:
    limit(api, stored_bytes=10)
    api.upload(b"12345678")
    answer = api.client.post("/v1/files", files={"file": ("a.txt", b"abc")})

    assert answer.status_code == 429
    assert "8 bytes stored and may have 10; the upload has 3" in answer.json()["detail"]
    blobs = [path for path in (api.folder / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 1
    api.upload(b"ab")
    assert usage(api)["stored_bytes"] == {"used": 10, "most": 10}


def test_the_same_bytes_count_once_however_many_names_they_have(api: Api) -> None:
    api.post_job()
    api.succeed(api.claim(), {"student/a": b"12345", "student/b": b"12345", "c": b"abc"})
    api.upload(b"12345", "one.txt")
    api.upload(b"12345", "two.txt")
    knowledge_of(api)  # a manifest of one byte
    assert usage(api)["stored_bytes"]["used"] == 5 + 3 + 1

    limit(api, stored_bytes=9)
    api.upload(b"12345", "three.txt")
    assert api.client.post("/v1/files", files={"file": ("a.txt", b"x")}).status_code == 429


def collect(api: Api) -> None:
    collector = BlobCollector(api.database, api.parts.storage)
    for _ in range(NUM_PARTS):
        collector.tick()


def test_what_was_deleted_counts_until_it_is_collected(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(api, stored_bytes=25)
    api.post_job()
    job_id, _ = held = api.claim()
    api.succeed(held, {"student/a": b"12345", "student/b": b"12345"})
    knowledge_id = knowledge_of(api)  # a manifest of one byte
    file_id = api.upload(b"12345678")["id"]
    assert usage(api)["stored_bytes"]["used"] == 5 + 1 + 8

    for path in (f"{JOBS}/{job_id}", f"/v1/knowledge/{knowledge_id}", f"/v1/files/{file_id}"):
        assert api.client.delete(path).is_success

    assert usage(api)["stored_bytes"]["used"] == 5 + 1 + 8
    for _ in range(2):
        # The same bytes take no more room, however often they come and go.
        api.client.delete(f"/v1/files/{api.upload(b'12345678')['id']}")
    answer = api.client.post("/v1/files", files={"file": ("a.txt", b"123456789012")})
    assert answer.status_code == 429
    assert "count until they are collected" in answer.json()["detail"]
    collect(api)
    assert usage(api)["stored_bytes"]["used"] == 5 + 1 + 8
    monkeypatch.setattr(collection, "KEPT_FOR", timedelta(days=-1))
    collect(api)
    assert usage(api)["stored_bytes"]["used"] == 0
    assert not [path for path in (api.folder / "blobs").rglob("*") if path.is_file()]


def test_what_was_deleted_and_came_again_counts_as_what_it_is(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "KEPT_FOR", timedelta(days=-1))
    api.client.delete(f"/v1/files/{api.upload(b'12345678')['id']}")
    api.upload(b"12345678")
    with api.database.read() as session:
        assert session.scalars(select(UnnamedBlob)).all() == []
    collect(api)
    assert usage(api)["stored_bytes"]["used"] == 8


def test_what_another_project_holds_as_well_does_not_count_for_who_deleted_it(api: Api) -> None:
    other = api.key(project="other")
    api.client.post("/v1/files", files={"file": ("a.txt", b"12345")}, headers=other)
    api.client.delete(f"/v1/files/{api.upload(b'12345')['id']}")
    assert usage(api)["stored_bytes"]["used"] == 5

    collect(api)

    assert usage(api)["stored_bytes"]["used"] == 0
    assert api.client.get("/v1/usage", headers=other).json()["stored_bytes"]["used"] == 5


def test_bytes_that_were_to_be_stored_count_though_no_file_came_of_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(api, stored_bytes=10)

    def refuse(*_: object) -> NoReturn:
        raise BaseError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(api.parts.storage, "put_chunks", refuse)
        answer = api.client.post("/v1/files", files={"file": ("a.txt", b"12345678")})
        assert answer.status_code == 503
    assert usage(api)["stored_bytes"]["used"] == 8
    collect(api)
    # They may still be coming.
    assert usage(api)["stored_bytes"]["used"] == 8
    monkeypatch.setattr(collection, "KEPT_FOR", timedelta(days=-1))
    collect(api)
    assert usage(api)["stored_bytes"]["used"] == 0


def test_another_projects_bytes_do_not_count(api: Api) -> None:
    other = api.key(project="other")
    api.client.post("/v1/files", files={"file": ("a.txt", b"12345")}, headers=other)

    assert usage(api)["stored_bytes"] == {"used": 0, "most": None}


def test_a_project_that_is_full_takes_no_job_whose_results_would_find_no_room(api: Api) -> None:
    api.upload(b"12345")
    limit(api, stored_bytes=5)

    answer = api.client.post(JOBS, json=spec())
    assert answer.status_code == 429
    assert "5 bytes stored, and may have 5" in answer.json()["detail"]
    limit(api, stored_bytes=6)
    assert api.client.post(JOBS, json=spec()).status_code == 201


def test_what_is_used_is_told_to_the_project_and_to_the_administrator(api: Api) -> None:
    limit(api, queued_jobs=5)
    api.post_job()
    api.claim()
    api.post_job()
    mine = usage(api)

    assert mine["queued_jobs"] == {"used": 1, "most": 5}
    assert mine["running_jobs"] == {"used": 1, "most": None}
    assert api.client.get(f"/v1/projects/{mine['project_id']}/usage").json() == mine


def test_a_quota_below_what_there_is_takes_nothing_away(api: Api) -> None:
    api.post_job()
    limit(api, queued_jobs=0)

    assert usage(api)["queued_jobs"] == {"used": 1, "most": 0}
    api.claim()
