"""Jobs are deleted with what is their own, and never with what another relies on."""

from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.db.models import Job, JobEvent, JobFile, JobLog, JobMetric, Knowledge, Model
from app.db.session import database_now
from app.db.table import Table
from tests.unit.app.conftest import JOBS, Api
from tests.unit.app.refused import knowledge_of, model_of

WEIGHTS = "student/model.safetensors"
MLP = {"name": "mlp", "hidden_sizes": [8]}


def finished(api: Api) -> tuple[str, str]:
    """Let a job end well; return its id and its student's."""
    job_id = api.post_job()["id"]
    held = api.claim()
    with api.database.write() as session:
        now = database_now(session)
        session.add(JobLog(job_id=held[0], fence=held[1], number=1, text="hello\n", created_at=now))
        session.add(
            JobMetric(job_id=held[0], fence=held[1], name="loss", step=1, value=1.0, created_at=now)
        )
    return job_id, api.succeed(held, {WEIGHTS: b"x", "report.json": b"{}"})


def delete(api: Api, job_id: str) -> Any:  # noqa: ANN401 (an answer)
    return api.client.delete(f"{JOBS}/{job_id}")


def rows(api: Api, *tables: type[Table]) -> list[int | None]:
    with api.database.read() as session:
        return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def test_a_job_goes_with_all_that_is_its_own(api: Api) -> None:
    own = (Job, JobEvent, JobFile, JobLog, JobMetric, Model)
    finished(api)
    before = rows(api, *own)
    job_id, model = finished(api)

    answer = delete(api, job_id)

    assert (answer.status_code, answer.content) == (204, b"")
    assert rows(api, *own) == before
    assert api.client.get(f"{JOBS}/{job_id}").status_code == 404
    assert api.client.get(f"/v1/models/{model}").status_code == 404
    assert delete(api, job_id).status_code == 404


@pytest.mark.parametrize("running", [False, True])
def test_a_job_that_has_not_ended_is_not_deleted(api: Api, *, running: bool) -> None:
    job_id = api.post_job()["id"]
    if running:
        api.claim()

    answer = delete(api, job_id)

    assert answer.status_code == 409
    assert ("running" if running else "queued") in answer.json()["detail"]
    assert api.client.get(f"{JOBS}/{job_id}").status_code == 200


def test_a_cancelled_job_is_deleted(api: Api) -> None:
    job_id = api.post_job()["id"]
    api.client.post(f"{JOBS}/{job_id}/cancel")

    assert delete(api, job_id).status_code == 204


@pytest.mark.parametrize("place", ["teacher", "member", "start"])
def test_a_job_whose_model_another_is_to_start_from_is_kept_until_that_has_ended(
    api: Api, place: str
) -> None:
    job_id, model = finished(api)
    registered = {"source": "model", "model": model}
    student = {"architecture": MLP, "initialize": {"from": "model", "model": model}}
    trained = {"source": "train", "architecture": MLP}
    members = [{"teacher": trained}, {"teacher": registered}]
    naming: dict[str, dict[str, Any]] = {
        "teacher": {"teacher": registered},
        "member": {"teacher": {"source": "ensemble", "mean": "logits", "members": members}},
        "start": {"student": student},
    }
    other = api.post_job(**naming[place])["id"]

    refused = delete(api, job_id)
    assert refused.status_code == 409
    assert other in refused.json()["detail"]

    api.client.post(f"{JOBS}/{other}/cancel")
    assert delete(api, job_id).status_code == 204


def test_a_job_that_only_mentions_a_model_keeps_nothing(api: Api) -> None:
    job_id, model = finished(api)
    api.post_job(metadata={"better_than": model})

    assert delete(api, job_id).status_code == 204


def test_many_jobs_that_rely_on_one_are_named_in_part(api: Api) -> None:
    job_id, model = finished(api)
    for _ in range(7):
        api.post_job(teacher={"source": "model", "model": model})

    detail = delete(api, job_id).json()["detail"]

    assert detail.count("distjob-") == 5
    assert "and 2 more" in detail


def test_knowledge_outlives_the_job_that_collected_it(api: Api) -> None:
    job_id, _ = finished(api)
    knowledge = knowledge_of(api, job_id=job_id)
    with api.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(knowledge_id=knowledge))

    assert delete(api, job_id).status_code == 204

    left = api.client.get(f"/v1/knowledge/{knowledge}").json()
    assert (left["id"], left["job_id"]) == (knowledge, None)
    assert rows(api, Knowledge) == [1]


def test_the_children_of_a_deleted_job_have_no_parent_and_a_new_entity_tag(api: Api) -> None:
    parent, child = api.post_job()["id"], api.post_job()["id"]
    api.client.post(f"{JOBS}/{parent}/cancel")
    with api.database.write() as session:
        session.execute(update(Job).where(Job.id == child).values(parent_id=parent))
    before = api.client.get(f"{JOBS}/{child}")
    assert before.json()["parent_id"] == parent

    assert delete(api, parent).status_code == 204

    after = api.client.get(f"{JOBS}/{child}")
    assert after.json()["parent_id"] is None
    assert after.headers["ETag"] != before.headers["ETag"]


def test_a_model_of_a_deleted_job_is_unknown_to_new_ones(api: Api) -> None:
    model = model_of(api, MLP, WEIGHTS)
    job_id = api.client.get(f"/v1/models/{model}").json()["job_id"]
    delete(api, job_id)

    spec = {
        "dataset": {"source": "builtin", "name": "digits"},
        "teacher": {"source": "model", "model": model},
        "student": {"architecture": MLP},
    }
    answer = api.client.post(JOBS, json=spec)

    assert answer.json()["errors"][0]["code"] == "unknown_model"
