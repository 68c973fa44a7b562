"""OpenAI's own client, as it comes from PyPI, against a served instance."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob

from app.contracts.projects import ProjectChanges
from app.db.checkpoints import Checkpoint
from app.db.session import database_now
from app.services.keys import create_key, load_pepper
from app.services.projects import update_project
from tests.unit.app.served import Served, report, serve

DISTILLATION = cast("Any", {"type": "distillation", "distillation": {}})
"""OpenAI's types know of no such method; its client sends it all the same."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path) as started:
        yield started


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served.url}/v1", api_key=served.key_file.read_text()) as made:
        yield made


def create(client: OpenAI, **fields: Any) -> FineTuningJob:  # noqa: ANN401 (a request's fields)
    whole = {"model": "mlp", "training_file": "digits", "method": DISTILLATION, **fields}
    return client.fine_tuning.jobs.create(**whole)


def succeed(served: Served, folder: Path) -> None:
    """Let a worker claim the next job and end it with a student."""
    student = folder / "outputs" / "student"
    student.mkdir(parents=True)
    (student / "model.safetensors").write_bytes(b"weights")
    (student / "config.json").write_text('{"architecture": {"name": "mlp"}}')
    served.succeed(served.claim(), folder / "outputs", report())


def test_jobs_are_created_read_and_steered(client: OpenAI, served: Served, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("width,height,label\n1,2,cat\n2,1,dog\n")
    file = client.files.create(file=table, purpose="fine-tune")
    jobs = client.fine_tuning.jobs
    job = create(
        client,
        training_file=file.id,
        hyperparameters={"n_epochs": 3, "batch_size": "auto"},
        seed=7,
        suffix="small",
        metadata={"team": "vision"},
    )
    assert isinstance(job, FineTuningJob)
    assert (job.object, job.status, job.model) == ("fine_tuning.job", "queued", "mlp")
    assert (job.training_file, job.seed, job.hyperparameters.n_epochs) == (file.id, 7, 3)
    assert job.metadata == {"team": "vision"}
    assert jobs.retrieve(job.id) == job

    assert jobs.pause(job.id).status == cast("Any", "paused")
    assert jobs.resume(job.id).status == "queued"
    assert jobs.cancel(job.id).status == "cancelled"
    assert jobs.cancel(job.id).status == "cancelled"


def test_lists_go_on_page_after_page(client: OpenAI, served: Served) -> None:
    made = [
        create(client, metadata={"parity": "odd" if number % 2 else "even"}).id
        for number in range(7)
    ]
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list(limit=3)] == made[::-1]
    assert [job.id for job in jobs.list(limit=2, metadata={"parity": "odd"})] == made[5::-2]

    for _ in range(3):
        jobs.pause(made[0])
        jobs.resume(made[0])
    events = list(jobs.list_events(made[0], limit=3))
    kinds = [cast("dict[str, str]", event.data)["event"] for event in events]
    assert kinds == ["job.resumed", "job.paused"] * 3 + ["job.created"]
    assert {event.object for event in events} == {"fine_tuning.job.event"}

    _add_checkpoints(served, made[0])
    checkpoints = list(jobs.checkpoints.list(made[0], limit=1))
    assert [one.step_number for one in checkpoints] == [20, 10]
    assert checkpoints[0].metrics.train_loss == 0.5
    assert checkpoints[0].fine_tuning_job_id == made[0]


def test_models_are_listed_and_read(client: OpenAI, served: Served, tmp_path: Path) -> None:
    job = create(client)
    succeed(served, tmp_path)
    ended = client.fine_tuning.jobs.retrieve(job.id)
    (listed,) = (model for model in client.models.list() if model.id == ended.fine_tuned_model)
    read = client.models.retrieve(listed.id)
    assert (read.object, read.owned_by) == ("model", job.organization_id)
    assert job.created_at <= read.created <= job.created_at + 60
    (name,) = (one for one in ended.result_files if one.endswith("student/config.json"))
    assert b"mlp" in client.files.content(name).read()
    assert client.files.retrieve(name).filename == "student/config.json"


def test_the_asynchronous_client_does_all_the_same(served: Served, tmp_path: Path) -> None:
    asyncio.run(_all_asynchronously(served, tmp_path))


def test_what_is_wrong_arrives_as_the_clients_own_exceptions(
    client: OpenAI, served: Served
) -> None:
    jobs = client.fine_tuning.jobs
    with pytest.raises(openai.UnprocessableEntityError) as unprocessable:
        create(client, model="mpl")
    assert unprocessable.value.code == "invalid_payload"
    assert unprocessable.value.param == "model"
    assert "perhaps 'mlp'" in unprocessable.value.message
    with pytest.raises(openai.BadRequestError) as bad:
        jobs.list(extra_query={"limitt": 3})
    assert (bad.value.code, bad.value.param) == ("bad_request", "limitt")
    with pytest.raises(openai.NotFoundError) as missing:
        jobs.retrieve("distjob-0")
    assert missing.value.code == "not_found"
    job = create(client)
    jobs.cancel(job.id)
    with pytest.raises(openai.ConflictError) as conflict:
        jobs.pause(job.id)
    assert conflict.value.code == "wrong_state"
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="shk_nobody").models.list()
    assert unknown.value.code == "invalid_api_key"
    told = (unprocessable, bad, missing, conflict, unknown)
    ids = {str(one.value.request_id) for one in told}
    assert len(ids) == len(told)
    # The five, and one each for the job that was made and its cancelling.
    logged = served.requests("/v1/", at_least=7)
    assert ids <= {line["request_id"] for line in logged}


def test_a_key_without_the_scope_is_refused(served: Served) -> None:
    pepper = load_pepper(served.key_file.with_name("pepper"))
    _, secret = create_key(
        served.database, pepper, project="default", name="reader", scopes=("models:read",)
    )
    with (
        OpenAI(base_url=f"{served.url}/v1", api_key=secret) as reader,
        pytest.raises(openai.PermissionDeniedError) as refused,
    ):
        create(reader)
    assert refused.value.code == "missing_scope"
    assert "jobs:write" in refused.value.message


def test_a_quota_arrives_as_too_many_and_is_not_tried_again(client: OpenAI, served: Served) -> None:
    changes = ProjectChanges.model_validate({"quotas": {"queued_jobs": 1}})
    update_project(served.database, create(client).organization_id, changes)
    with pytest.raises(openai.RateLimitError) as full:
        create(client)
    assert full.value.code == "quota_exceeded"
    client.models.list()
    made = served.requests("/v1/fine_tuning/jobs", at_least=2, method="POST")
    assert sorted(line["status"] for line in made) == [200, 429]


def test_a_conflict_is_sent_once_and_not_tried_again(client: OpenAI, served: Served) -> None:
    job = create(client)
    client.fine_tuning.jobs.cancel(job.id)
    assert client.max_retries == 2
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.pause(job.id)
    client.models.list()
    assert [line["status"] for line in served.requests("/pause", at_least=1)] == [409]


def test_a_request_sent_again_with_its_key_makes_no_second_job(client: OpenAI) -> None:
    headers = {"Idempotency-Key": "night-of-the-7th"}
    first = create(client, extra_headers=headers)
    assert create(client, extra_headers=headers) == first
    with pytest.raises(openai.UnprocessableEntityError) as reused:
        create(client, seed=1, extra_headers=headers)
    assert reused.value.param == "Idempotency-Key"
    assert [job.id for job in client.fine_tuning.jobs.list()] == [first.id]


async def _all_asynchronously(served: Served, folder: Path) -> None:
    key = served.key_file.read_text()
    async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key=key) as client:
        jobs = client.fine_tuning.jobs
        made = [
            (await jobs.create(model="mlp", training_file="digits", method=DISTILLATION)).id
            for _ in range(3)
        ]
        assert (await jobs.retrieve(made[0])).id == made[0]
        assert [job.id async for job in jobs.list(limit=1)] == made[::-1]
        assert (await jobs.pause(made[1])).status == cast("Any", "paused")
        assert (await jobs.resume(made[1])).status == "queued"
        assert (await jobs.cancel(made[1])).status == "cancelled"
        messages = [event.message async for event in jobs.list_events(made[1], limit=1)]
        assert len(messages) == 4
        _add_checkpoints(served, made[2])
        checkpoints = [one async for one in jobs.checkpoints.list(made[2], limit=1)]
        assert [one.step_number for one in checkpoints] == [20, 10]
        succeed(served, folder)
        models = [model async for model in client.models.list()]
        assert await client.models.retrieve(models[0].id) == models[0]
        with pytest.raises(openai.ConflictError) as conflict:
            await jobs.resume(made[1])
        assert conflict.value.code == "wrong_state"


def _add_checkpoints(served: Served, job_id: str) -> None:
    with served.database.write() as session:
        for number in (1, 2):
            session.add(
                Checkpoint(
                    id=f"checkpoint-{job_id}-{number}",
                    job_id=job_id,
                    number=number,
                    fence=1,
                    phase="training_student",
                    role="student",
                    step=number * 10,
                    metrics={"student/loss": 0.5},
                    created_at=database_now(session),
                )
            )
