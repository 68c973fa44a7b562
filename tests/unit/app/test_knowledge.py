"""Knowledge over HTTP: listed, read, and kept for the jobs that rely on it."""

import pytest

from app.contracts.knowledge import Knowledge
from app.db import verbs
from app.db.models import KnowledgeFile
from tests.unit.app.conftest import JOBS, Api
from tests.unit.app.refused import knowledge_of

PATH = "/v1/knowledge"


def used_by(api: Api, knowledge: str) -> int:
    return Knowledge.model_validate(api.client.get(f"{PATH}/{knowledge}").json()).used_by


def named(knowledge: str) -> dict[str, str]:
    return {"source": "knowledge", "knowledge": knowledge}


def test_knowledge_is_listed_newest_first_page_by_page_and_read(api: Api) -> None:
    ids = [knowledge_of(api) for _ in range(3)][::-1]

    first = api.client.get(f"{PATH}?limit=2").json()
    rest = api.client.get(f"{PATH}?after={first['last_id']}").json()

    assert ([one["id"] for one in first["data"]], first["has_more"]) == (ids[:2], True)
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[2:], False)
    read = api.client.get(f"{PATH}/{ids[0]}").json()
    assert read == first["data"][0]
    assert (read["object"], read["bytes"], read["fingerprint"]["views"]) == (
        "knowledge",
        240,
        "plain",
    )


def test_a_job_that_names_knowledge_shows_it_and_counts_until_it_has_ended(api: Api) -> None:
    knowledge, other = knowledge_of(api), knowledge_of(api)
    jobs = [api.post_job(teacher=named(knowledge)) for _ in range(2)]

    assert {job["knowledge"] for job in jobs} == {knowledge}
    assert (used_by(api, knowledge), used_by(api, other)) == (2, 0)
    api.client.post(f"{JOBS}/{jobs[0]['id']}/cancel")
    assert used_by(api, knowledge) == 1


def test_knowledge_is_not_deleted_while_a_job_relies_on_it(api: Api) -> None:
    knowledge = knowledge_of(api)
    job = api.post_job(teacher=named(knowledge))

    refused = api.client.delete(f"{PATH}/{knowledge}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "wrong_state")
    assert job["id"] in refused.json()["detail"]

    api.client.post(f"{JOBS}/{job['id']}/cancel")
    ended = api.client.get(f"{JOBS}/{job['id']}")
    assert api.client.delete(f"{PATH}/{knowledge}").status_code == 204
    assert api.client.get(f"{PATH}/{knowledge}").status_code == 404
    left = api.client.get(f"{JOBS}/{job['id']}")
    assert left.json()["knowledge"] is None
    assert left.headers["ETag"] != ended.headers["ETag"]
    with api.database.read() as session:
        assert session.query(KnowledgeFile).count() == 0


def test_a_job_that_a_worker_lets_use_knowledge_keeps_it(api: Api) -> None:
    knowledge = knowledge_of(api)
    job_id = api.post_job()["id"]
    held = api.claim()
    with api.database.write() as session:
        verbs.use_knowledge(session, verbs.hold(session, *held), knowledge)

    assert used_by(api, knowledge) == 1
    assert api.client.delete(f"{PATH}/{knowledge}").status_code == 409
    assert api.client.get(f"{JOBS}/{job_id}").json()["knowledge"] == knowledge


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_another_projects_knowledge_looks_like_what_does_not_exist(api: Api, method: str) -> None:
    knowledge, other = knowledge_of(api), api.key(project="other")

    foreign = api.client.request(method, f"{PATH}/{knowledge}", headers=other)
    unknown = api.client.request(method, f"{PATH}/unknown", headers=other)

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["detail"] == unknown.json()["detail"]
    assert api.client.get(PATH, headers=other).json()["data"] == []
    assert used_by(api, knowledge) == 0


def test_a_job_may_not_name_what_was_deleted(api: Api) -> None:
    knowledge = knowledge_of(api)
    api.client.delete(f"{PATH}/{knowledge}")

    answer = api.client.post(JOBS, json={**_spec(), "teacher": named(knowledge)})

    assert answer.json()["errors"][0]["code"] == "unknown_knowledge"


def _spec() -> dict[str, object]:
    return {
        "dataset": {"source": "builtin", "name": "digits"},
        "student": {"architecture": {"name": "mlp"}},
    }
