"""What the list of jobs understands of a query string."""

import pytest

from tests.unit.app.conftest import JOBS, Api


def names(api: Api, **query: str | list[str]) -> list[str]:
    answer = api.client.get(JOBS, params=query)
    assert answer.status_code == 200, answer.text
    return [job["name"] for job in answer.json()["data"]]


def test_jobs_are_found_by_what_they_have(api: Api) -> None:
    one = api.post_job(name="one", metadata={"a.b": 'x"=&', "team": "vision"})
    api.post_job(name="two", metadata={"team": "vision"})
    api.client.post(f"{JOBS}/{one['id']}/cancel")
    api.client.post(f"{JOBS}/{one['id']}/clone", json={"name": "three"})
    assert names(api, status=["cancelled", "queued"]) == ["three", "two", "one"]
    assert names(api, status="cancelled") == ["one"]
    assert names(api, **{"metadata[team]": "vision"}) == ["three", "two", "one"]
    assert names(api, **{"metadata[team]": "vision", "metadata[a.b]": 'x"=&'}) == ["three", "one"]
    assert names(api, name="two") == ["two"]
    assert names(api, **{f"metadata[{number}]": "x" for number in range(16)}) == []
    assert names(api, parent_id=one["id"]) == ["three"]
    assert names(api, created_before=one["created_at"]) == []
    assert names(api, created_after=one["created_at"], limit="1") == ["three"]
    # Moments that have no date in UTC.
    first, last = "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"
    assert names(api, created_after=first, created_before=last) == names(api)
    assert names(api, created_after=last) == names(api, created_before=first) == []
    assert api.client.get("/v1/audit", params={"since": first, "until": last}).json()["data"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("stauts=queued", "perhaps 'status'"),
        ("metadata=x", "metadata[KEY]"),
        ("metadata[]=x", "metadata[KEY]"),
        ("metadata[a]=x&metadata[a]=y", "twice"),
        ("created_after=2026-01-01T00:00:00", "timezone"),
        ("created_before=yesterday", "created_before"),
        ("&".join(f"metadata[{number}]=x" for number in range(17)), "given 17 pairs"),
    ],
)
def test_what_is_not_understood_is_400_and_says_what_is(api: Api, query: str, says: str) -> None:
    answer = api.client.get(f"{JOBS}?{query}")
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["detail"]


def test_the_document_describes_every_parameter_that_is_taken(api: Api) -> None:
    operation = api.client.get("/openapi.json").json()["paths"][JOBS]["get"]
    told = {parameter["name"] for parameter in operation["parameters"]}
    refusal = api.client.get(f"{JOBS}?x=1").json()["detail"]
    known = {name.partition("[")[0] for name in refusal.partition("known: ")[2].split(", ")}
    assert told == known


@pytest.mark.parametrize("given", ["0.5", "1700000000"])
def test_a_moment_that_is_a_bare_number_is_400(api: Api, given: str) -> None:
    answer = api.client.get(JOBS, params={"created_before": given})
    assert answer.status_code == 400
    assert "2030-01-31T12:00:00Z" in answer.json()["detail"]
