"""Projects as whoever runs the installation makes them, and what their keys may give on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.contracts.requests import PROJECT_SCOPES
from app.services import key_text
from tests.unit.app.conftest import JOBS, Api


def make(api: Api, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a request's fields)
    answer = api.client.post("/v1/projects", json={"name": "vision", **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def bearer(answer: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer['secret']}"}


def test_a_new_project_is_empty_and_its_first_key_works_in_it_alone(api: Api) -> None:
    api.post_job()
    project = make(api)
    body = {"name": "first", "scopes": ["jobs:read", "jobs:write", "admin"]}
    made = api.client.post(f"/v1/projects/{project['id']}/api_keys", json=body)
    assert made.status_code == 201
    assert made.json()["project_id"] == project["id"]

    theirs = bearer(made.json())
    assert api.client.get(JOBS, headers=theirs).json()["data"] == []
    assert api.client.get("/v1/projects", headers=theirs).status_code == 403
    listed = api.client.get(f"/v1/projects/{project['id']}/api_keys").json()["data"]
    assert [key["id"] for key in listed] == [made.json()["id"]]
    api.client.delete(f"/v1/projects/{project['id']}/api_keys/{made.json()['id']}")
    assert api.client.get(JOBS, headers=theirs).status_code == 401


def test_projects_are_listed_newest_first_in_pages(api: Api) -> None:
    ids = [make(api, name=f"p{number}")["id"] for number in range(3)]
    page = api.client.get("/v1/projects?limit=2").json()
    rest = api.client.get(f"/v1/projects?limit=2&after={page['last_id']}").json()

    assert [one["id"] for one in page["data"]] == [ids[2], ids[1]]
    assert page["has_more"] is True
    assert rest["data"][0]["id"] == ids[0]


def test_changes_are_made_one_by_one_and_null_lifts_a_quota(api: Api) -> None:
    project = make(api, quotas={"queued_jobs": 3, "stored_bytes": 100})
    path = f"/v1/projects/{project['id']}"
    assert project["quotas"] == {"queued_jobs": 3, "running_jobs": None, "stored_bytes": 100}

    changed = api.client.patch(path, json={"quotas": {"queued_jobs": None, "running_jobs": 0}})
    assert changed.json()["quotas"] == {
        "queued_jobs": None,
        "running_jobs": 0,
        "stored_bytes": 100,
    }
    renamed = api.client.patch(path, json={"name": "sight"}).json()
    assert (renamed["name"], renamed["quotas"]) == ("sight", changed.json()["quotas"])
    assert api.client.get(path).json() == renamed


def test_no_two_projects_have_one_name(api: Api) -> None:
    make(api)
    other = make(api, name="other")
    taken = api.client.post("/v1/projects", json={"name": "vision"})
    renamed = api.client.patch(f"/v1/projects/{other['id']}", json={"name": "vision"})

    assert taken.status_code == renamed.status_code == 409
    assert "another name" in taken.json()["detail"]
    assert api.client.get(f"/v1/projects/{other['id']}").json()["name"] == "other"


@pytest.mark.parametrize("name", ["", "a/b", "..", "-a", "a-", "a b", "a" * 65, "\u00e9", "a\n"])
def test_a_name_that_could_not_stand_in_an_address_is_refused(api: Api, name: str) -> None:
    assert api.client.post("/v1/projects", json={"name": name}).status_code == 422


@pytest.mark.parametrize("most", [-1, 2**63, 1.5, "many"])
def test_a_quota_is_a_whole_number(api: Api, most: object) -> None:
    answer = api.client.post("/v1/projects", json={"name": "x", "quotas": {"queued_jobs": most}})
    assert answer.json()["errors"][0]["pointer"] == "/quotas/queued_jobs"


def test_a_key_gives_no_scope_that_it_does_not_have(api: Api) -> None:
    headers = api.key("admin", "jobs:read")

    def ask(*scopes: str) -> int:
        body = {"name": "x", "scopes": scopes}
        return int(api.client.post("/v1/api_keys", json=body, headers=headers).status_code)

    assert ask("jobs:read") == ask("admin", "jobs:read") == 201
    assert ask("jobs:write") == ask("jobs:read", "projects:admin") == 403


def test_a_key_that_expires_makes_none_that_outlives_it(api: Api) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    body = {"name": "brief", "scopes": list(PROJECT_SCOPES), "expires_at": soon.isoformat()}
    headers = bearer(api.client.post("/v1/api_keys", json=body).json())

    for later in (None, (soon + timedelta(seconds=1)).isoformat()):
        answer = api.client.post(
            "/v1/api_keys",
            json={"name": "long", "scopes": ["admin"], "expires_at": later},
            headers=headers,
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "outlives_creator"
    same = {"name": "as brief", "scopes": ["admin"], "expires_at": soon.isoformat()}
    assert api.client.post("/v1/api_keys", json=same, headers=headers).status_code == 201


def test_the_right_to_manage_projects_stays_in_its_project(api: Api) -> None:
    project = make(api)
    body = {"name": "x", "scopes": ["projects:admin"]}

    assert api.client.post("/v1/api_keys", json=body).status_code == 201
    refused = api.client.post(f"/v1/projects/{project['id']}/api_keys", json=body)
    assert refused.status_code == 403
    assert "no other" in refused.json()["detail"]


def test_a_key_in_a_list_is_not_the_key(api: Api) -> None:
    secret = api.key()["Authorization"].split()[1]
    listed = api.client.get("/v1/api_keys").text
    assert f"key-{key_text.read(secret)}" in listed
    assert secret.split("_")[2] not in listed
