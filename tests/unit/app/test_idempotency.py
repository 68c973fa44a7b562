"""Requests with an Idempotency-Key: done once, answered the same each time."""

from typing import Any

import pytest
from sqlalchemy import func, select

from app.db.models import IdempotencyKey
from app.db.models import Job as JobRow
from tests.unit.app.conftest import JOBS, Api, spec

KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


def post(api: Api, path: str, key: str, **rest: Any) -> Any:  # noqa: ANN401 (a request; an answer)
    headers = {KEY: key, **rest.pop("headers", {})}
    return api.client.post(path, headers=headers, **rest)


def count(api: Api, table: type[JobRow | IdempotencyKey] = JobRow) -> int | None:
    with api.database.read() as session:
        return session.scalar(select(func.count()).select_from(table))


def cancelled(api: Api) -> str:
    job_id: str = api.post_job()["id"]
    api.client.post(f"{JOBS}/{job_id}/cancel")
    return job_id


@pytest.mark.parametrize("verb", ["", "retry", "clone"])
def test_the_same_request_again_is_answered_the_same_and_makes_nothing(api: Api, verb: str) -> None:
    path = f"{JOBS}/{cancelled(api)}/{verb}" if verb else JOBS
    body = {} if verb == "retry" else {"json": spec() if not verb else {"name": "new"}}
    first = post(api, path, "key-1", **body)
    api.client.post(f"{first.headers['Location']}/cancel")
    before = count(api)

    again = post(api, path, "key-1", **body)

    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert again.headers["Content-Type"] == first.headers["Content-Type"] == "application/json"
    assert count(api) == before


@pytest.mark.parametrize("verb", ["", "clone"])
def test_the_key_with_another_body_is_refused(api: Api, verb: str) -> None:
    path = f"{JOBS}/{cancelled(api)}/{verb}" if verb else JOBS
    first, other = ({"name": "a"}, {"name": "b"}) if verb else (spec(), spec(name="b"))
    post(api, path, "key-1", json=first)
    before = count(api)

    answer = post(api, path, "key-1", json=other)

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert answer.json()["error"]["param"] == KEY
    assert "'key-1'" in answer.json()["detail"]
    assert count(api) == before
    assert REPLAYED in post(api, path, "key-1", json=first).headers


def test_a_key_is_of_its_project_and_path(api: Api) -> None:
    other = api.key(project="other")
    first, second = cancelled(api), cancelled(api)
    before = count(api)
    answers = [
        post(api, JOBS, "key-1", json=spec()),
        post(api, JOBS, "key-1", json=spec(), headers=other),
        post(api, JOBS, "key-2", json=spec()),
        post(api, f"{JOBS}/{first}/retry", "key-1"),
        post(api, f"{JOBS}/{second}/retry", "key-1"),
        post(api, f"{JOBS}/{first}/clone", "key-1"),
    ]

    assert [answer.status_code for answer in answers] == [201] * 6
    assert all(REPLAYED not in answer.headers for answer in answers)
    assert count(api) == (before or 0) + 6


def test_without_a_key_every_request_makes_a_job(api: Api) -> None:
    assert api.post_job()["id"] != api.post_job()["id"]
    assert count(api, IdempotencyKey) == 0


def test_a_refused_request_keeps_no_key(api: Api) -> None:
    wrong = spec(teacher={"source": "model", "model": "model-0"})
    assert post(api, JOBS, "key-1", json=wrong).status_code == 422
    queued = api.post_job()["id"]
    assert post(api, f"{JOBS}/{queued}/retry", "key-1").status_code == 409
    assert post(api, f"{JOBS}/unknown/retry", "key-1").status_code == 404
    assert post(api, f"{JOBS}/{'x' * 1000}/clone", "key-1").status_code == 404
    assert count(api, IdempotencyKey) == 0

    api.client.post(f"{JOBS}/{queued}/cancel")

    assert post(api, JOBS, "key-1", json=spec()).status_code == 201
    assert post(api, f"{JOBS}/{queued}/retry", "key-1").status_code == 201


def test_validating_takes_no_key(api: Api) -> None:
    path = f"{JOBS}?validate_only=true"
    assert post(api, path, "key-1", json=spec()).status_code == 200
    assert count(api, IdempotencyKey) == 0
    assert REPLAYED not in post(api, JOBS, "key-1", json=spec()).headers
    assert post(api, path, "key-1", json=spec(name="other")).status_code == 200


def test_an_answer_outlives_the_jobs_that_it_tells_of(api: Api) -> None:
    parent = cancelled(api)
    first = post(api, f"{JOBS}/{parent}/retry", "key-1")
    api.client.post(f"{first.headers['Location']}/cancel")
    for path in (first.headers["Location"], f"{JOBS}/{parent}"):
        assert api.client.delete(path).status_code == 204

    again = post(api, f"{JOBS}/{parent}/retry", "key-1")

    assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted, with spaces"', "~!@#$%^&*()"])
def test_a_key_of_printable_ascii_is_taken(api: Api, key: str) -> None:
    assert post(api, JOBS, key, json=spec()).status_code == 201
    assert REPLAYED in post(api, JOBS, key, json=spec()).headers


@pytest.mark.parametrize("key", ["", "x" * 256, "\xe9", "a\tb", "a\x7f"])
def test_any_other_key_is_400(api: Api, key: str) -> None:
    headers = {KEY.encode(): key.encode("latin-1")}
    for path, body in ((JOBS, spec()), (f"{JOBS}/{cancelled(api)}/retry", None)):
        answer = api.client.post(path, json=body, headers=headers)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["code"] == "bad_request"
        assert answer.json()["error"]["param"].lower() == KEY.lower()


def test_the_header_is_described(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    for path in (JOBS, f"{JOBS}/{{job_id}}/retry", f"{JOBS}/{{job_id}}/clone"):
        operation = paths[path]["post"]
        assert KEY in [one["name"] for one in operation["parameters"] if one["in"] == "header"]
        created = operation["responses"]["201"]
        assert created["headers"].keys() == {"Location", REPLAYED}
        schema = created["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Job"}
