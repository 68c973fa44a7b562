"""Models, a job's and a client's own, are edited and deleted; nothing that is relied on goes."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.db.blobs import UnnamedBlob
from app.services import collection
from tests.unit.app.conftest import JOBS, Api, spec
from tests.unit.app.teachers import register, registered
from tests.unit.app.test_quotas import collect, limit, usage

MLP = {"name": "mlp", "hidden_sizes": [8]}
FILES = {
    "student/config.json": b"{}",
    "student/model.safetensors": b"x",
    "students": b"of another name",
    "report.json": b"{}",
}


def made_by_a_job(api: Api) -> tuple[str, str]:
    """Let a job make a student; return its id and the job's."""
    job_id = str(api.post_job(name="small")["id"])
    return api.succeed(api.claim(), FILES), job_id


def test_a_models_description_and_metadata_change_and_stay_where_not_given(api: Api) -> None:
    for model in (registered(api)["id"], made_by_a_job(api)[0]):
        path = f"/v1/models/{model}"
        before = api.client.get(path)
        assert (before.json()["description"], before.json()["metadata"]) == (None, {})

        first = api.client.patch(path, json={"description": "Good.", "metadata": {"a": "b"}})
        second = api.client.patch(path, json={"metadata": {}})
        third = api.client.patch(path, json={"description": None})

        shown = [(one.json()["description"], one.json()["metadata"]) for one in (first, second)]
        assert shown == [("Good.", {"a": "b"}), ("Good.", {})]
        assert third.json() == before.json() == api.client.get(path).json()
        assert first.headers["ETag"] != before.headers["ETag"] == third.headers["ETag"]


def test_an_edit_of_what_has_changed_since_is_refused(api: Api) -> None:
    path = f"/v1/models/{registered(api, name='mine')['id']}"
    tag = api.client.get(path).headers["ETag"]
    known = {"If-Match": tag}
    assert api.client.patch(path, json={"description": "a"}, headers=known).status_code == 200

    late = api.client.patch("/v1/models/mine", json={"description": "b"}, headers=known)

    assert late.status_code == 412
    assert tag in late.json()["detail"]
    assert api.client.get(path).json()["description"] == "a"
    tag = api.client.get(path).headers["ETag"]
    for good in (f'"0", {tag}', "*"):
        answer = api.client.patch(path, json={"description": good}, headers={"If-Match": good})
        assert answer.status_code == 200


def test_what_is_no_field_of_an_edit_is_told(api: Api) -> None:
    answer = api.client.patch(f"/v1/models/{registered(api)['id']}", json={"name": "b"})
    assert answer.status_code == 422
    assert "known here: description, metadata" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("named", ["id", "mine@1"])
def test_a_registered_model_goes_with_its_files(
    api: Api, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = registered(api, name="mine")
    weights = api.client.get("/v1/files").json()["data"][0]
    before = usage(api)["stored_bytes"]["used"]
    assert before > weights["bytes"]

    answer = api.client.delete(f"/v1/models/{model['id'] if named == 'id' else named}")

    assert answer.json() == {"object": "model", "id": model["id"], "deleted": True}
    assert api.client.get(f"/v1/models/{model['id']}").status_code == 404
    assert api.client.delete(f"/v1/models/{model['id']}").status_code == 404
    assert usage(api)["stored_bytes"]["used"] == before
    monkeypatch.setattr(collection, "KEPT_FOR", timedelta(days=-1))
    collect(api)
    assert usage(api)["stored_bytes"]["used"] == weights["bytes"]
    assert registered(api, name="mine")["version"] == 2


@pytest.mark.parametrize("named", ["mine", "mine@latest", "mine@best"])
def test_what_is_another_model_the_next_time_deletes_none(api: Api, named: str) -> None:
    model = registered(api, name="mine")
    api.client.put("/v1/model_aliases/mine@best", json={"version": 1})

    refused = api.client.delete(f"/v1/models/{named}")

    assert refused.status_code == 409
    assert f"by that id, or as mine@{model['version']}" in refused.json()["detail"]
    assert api.client.get(f"/v1/models/{model['id']}").is_success


def test_a_registered_model_has_a_commit_as_a_repository(api: Api) -> None:
    first = registered(api, name="mine")
    registered(api, name="mine", architecture={"name": "mlp", "hidden_sizes": [5]})
    address = f"{first['owned_by']}/mine"
    commits = [
        api.client.get(f"/api/models/{address}/revision/{version}").json()["sha"]
        for version in (1, 2)
    ]

    answer = api.client.get(f"/{address}/resolve/{commits[0]}/config.json")

    assert commits[0] != commits[1]
    assert answer.headers["x-repo-commit"] == commits[0]
    assert answer.json()["architecture"]["hidden_sizes"] == [4]


def test_a_registration_takes_no_more_room_than_there_is(api: Api) -> None:
    model = registered(api)
    size = sum(file["bytes"] for file in model["files"])
    assert usage(api)["stored_bytes"]["used"] == size
    limit(api, stored_bytes=size)
    # Of the same weights; its card is new.
    answer = register(api, card="x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    assert usage(api)["stored_bytes"]["used"] == size
    limit(api, stored_bytes=size + 1)
    assert register(api, card="x").status_code == 201
    assert usage(api)["stored_bytes"]["used"] == size + 1
    with api.database.read() as session:
        assert session.scalars(select(UnnamedBlob)).all() == []


def test_a_jobs_model_goes_with_its_files_and_the_job_stays(api: Api) -> None:
    model, job_id = made_by_a_job(api)
    stored = usage(api)["stored_bytes"]["used"]
    path = f"{JOBS}/{job_id}"
    before = api.client.get(path)
    assert before.json()["student_model"] == model

    assert api.client.delete(f"/v1/models/{model}").status_code == 200

    after = api.client.get(path)
    assert after.json()["student_model"] is None
    assert usage(api)["stored_bytes"]["used"] == stored
    assert [file["path"] for file in after.json()["files"]] == ["report.json", "students"]
    assert after.headers["ETag"] != before.headers["ETag"]
    assert api.client.delete(path).status_code == 204


@pytest.mark.parametrize(
    ("place", "origin"), [("teacher", "job"), ("member", "client"), ("start", "client")]
)
def test_a_model_that_a_job_is_to_start_from_is_kept_until_that_has_ended(
    api: Api, place: str, origin: str
) -> None:
    of_client = {"architecture": MLP}
    model = made_by_a_job(api)[0] if origin == "job" else registered(api, **of_client)["id"]
    named = {"source": "model", "model": model}
    trained = {"source": "train", "architecture": MLP}
    members = [{"teacher": trained}, {"teacher": named}]
    naming: dict[str, Any] = {
        "teacher": {"teacher": named},
        "member": {"teacher": {"source": "ensemble", "mean": "logits", "members": members}},
        "start": {
            "student": {"architecture": MLP, "initialize": {"from": "model", "model": model}}
        },
    }
    other = api.client.post(JOBS, json=spec(**naming[place])).json()["id"]

    refused = api.client.delete(f"/v1/models/{model}")

    assert refused.status_code == 409
    assert other in refused.json()["detail"]
    api.client.post(f"{JOBS}/{other}/cancel")
    assert api.client.delete(f"/v1/models/{model}").status_code == 200


def test_a_model_that_an_alias_stands_for_is_kept(api: Api) -> None:
    model = registered(api, name="mine")["id"]
    api.client.put("/v1/model_aliases/mine@best", json={"version": 1})

    refused = api.client.delete(f"/v1/models/{model}")

    assert refused.status_code == 409
    assert "this model is what mine@best stands for" in refused.json()["detail"]
    api.client.delete("/v1/model_aliases/mine@best")
    assert api.client.delete(f"/v1/models/{model}").status_code == 200
