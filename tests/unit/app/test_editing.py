"""A job's name, metadata and priority changed over HTTP."""

from typing import Any

import pytest

from tests.unit.app.conftest import JOBS, Api


def edited(api: Api, job_id: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.client.patch(f"{JOBS}/{job_id}", json=body)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert api.client.get(f"{JOBS}/{job_id}").json() == job
    return job


def events(api: Api, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    page = api.client.get(f"{JOBS}/{job_id}/events").json()
    return [(event["type"], event["data"]) for event in page["data"]]


def test_an_edit_changes_what_is_given_and_is_an_event(api: Api) -> None:
    job = api.post_job(name="old", metadata={"team": "vision", "run": "1"}, priority=3)
    new = edited(api, job["id"], {"name": None, "metadata": {"team": "audio"}})
    assert (new["name"], new["metadata"], new["version"]) == (None, {"team": "audio"}, 2)
    assert new["resolved_spec"]["priority"] == 3
    assert events(api, job["id"])[1:] == [("job.edited", {"changed": ["name", "metadata"]})]


def test_what_is_so_already_is_no_change(api: Api) -> None:
    job = api.post_job(name="same")
    for body in ({}, {"name": "same", "priority": 0, "metadata": {}}):
        assert edited(api, job["id"], body)["version"] == 1
    assert len(events(api, job["id"])) == 1


def test_a_higher_priority_is_claimed_first(api: Api) -> None:
    first, second = (api.post_job()["id"] for _ in range(2))
    edited(api, second, {"priority": 5})
    assert [api.claim()[0], api.claim()[0]] == [second, first]


def test_a_job_that_runs_is_edited_and_its_worker_goes_on(api: Api) -> None:
    api.post_job()
    held = api.claim()
    edited(api, held[0], {"name": "in passing", "priority": 1})
    api.succeed(held, {})
    assert api.client.get(f"{JOBS}/{held[0]}").json()["status"] == "succeeded"


def test_a_job_that_has_ended_keeps_its_priority_but_not_its_name(api: Api) -> None:
    job_id = api.post_job()["id"]
    api.client.post(f"{JOBS}/{job_id}/cancel")
    answer = api.client.patch(f"{JOBS}/{job_id}", json={"priority": 1, "name": "x"})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "wrong_state"
    job = edited(api, job_id, {"name": "kept", "priority": 0})
    assert (job["name"], job["status"]) == ("kept", "cancelled")


def test_a_clone_is_of_the_job_as_it_is_now(api: Api) -> None:
    job_id = api.post_job(name="old")["id"]
    edited(api, job_id, {"name": "new", "metadata": {"a": "b"}, "priority": 7})
    clone = api.client.post(f"{JOBS}/{job_id}/clone").json()
    assert (clone["name"], clone["metadata"]) == ("new", {"a": "b"})
    assert clone["resolved_spec"]["priority"] == 7


@pytest.mark.parametrize(
    "body",
    [
        {"status": "cancelled"},
        {"metadata": None},
        {"priority": 101},
        {"priority": None},
        {"name": ""},
    ],
)
def test_nothing_else_can_be_edited(api: Api, body: dict[str, Any]) -> None:
    job_id = api.post_job()["id"]
    answer = api.client.patch(f"{JOBS}/{job_id}", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(body))}"
    assert api.client.get(f"{JOBS}/{job_id}").json()["version"] == 1


def test_an_edit_of_an_older_version_is_412_and_changes_nothing(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    etag = api.client.get(path).headers["ETag"]
    first = api.client.patch(path, json={"name": "one"}, headers={"If-Match": etag})
    assert first.status_code == 200
    late = api.client.patch(path, json={"name": "two"}, headers={"If-Match": etag})
    assert late.status_code == 412
    assert late.json()["error"]["code"] == "precondition_failed"
    weak = {"If-Match": f"W/{first.headers['ETag']}"}
    assert api.client.patch(path, json={"name": "two"}, headers=weak).status_code == 412
    assert api.client.get(path).json()["name"] == "one"
    for tags in (first.headers["ETag"], "*", f'"9", {first.headers["ETag"]}'):
        answer = api.client.patch(path, json={}, headers={"If-Match": tags})
        assert answer.status_code == 200, tags
