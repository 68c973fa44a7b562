"""Jobs in OpenAI's shape are the native ones: what is asked, what is shown, what is wrong."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from app.contracts.job import JobError
from app.contracts.model import AnyArchitecture
from app.db import verbs
from app.db.checkpoints import Checkpoint
from app.db.lifecycle import Actor
from app.db.session import database_now
from app.services.default_teachers import larger
from tests.unit.app.conftest import JOBS, Api, spec

TUNING = "/v1/fine_tuning/jobs"
ARCHITECTURE: TypeAdapter[AnyArchitecture] = TypeAdapter(AnyArchitecture)


def create(api: Api, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (a request's fields)
    answer = api.client.post(TUNING, json={"model": "mlp", "training_file": "digits", **fields})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


def native(api: Api, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = api.client.get(f"{JOBS}/{job_id}").json()
    return job


def distillation(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 (a spec's parts)
    return {"type": "distillation", "distillation": parts}


def test_a_job_in_the_fewest_words_is_a_whole_native_job(api: Api) -> None:
    file = api.upload()
    job = create(api, training_file=file["id"])
    resolved = native(api, job["id"])["resolved_spec"]
    assert resolved["dataset"]["file"] == file["id"]
    assert resolved["dataset"]["format"]["label"] == "label"
    assert resolved["student"]["architecture"] == {
        "name": "mlp",
        "hidden_sizes": [128],
        "dropout": 0,
    }
    assert resolved["teacher"]["architecture"]["hidden_sizes"] == [512]
    assert resolved["teacher"]["training"] == resolved["training"]
    # The native job posted with what is shown is the same.
    shown = job["method"]["distillation"]
    again = api.client.post(JOBS, json=shown).json()
    assert again["resolved_spec"] == resolved


def test_each_field_has_its_native_place(api: Api) -> None:
    job = create(
        api,
        seed=7,
        suffix="small",
        metadata={"team": "vision"},
        hyperparameters={"n_epochs": 3, "batch_size": "auto"},
        method=distillation(
            hyperparameters={"batch_size": 32, "learning_rate_multiplier": 3},
            objective=[{"loss": "soft_targets", "temperature": 2}],
            priority=5,
        ),
    )
    shown = native(api, job["id"])
    training = shown["resolved_spec"]["training"]
    assert (training["seed"], training["epochs"], training["batch_size"]) == (7, 3, 32)
    assert training["optimizer"]["lr"] == pytest.approx(0.003)
    assert (shown["name"], shown["metadata"]) == ("small", {"team": "vision"})
    assert shown["resolved_spec"]["objective"][0]["temperature"] == 2
    assert shown["resolved_spec"]["priority"] == 5
    assert job["hyperparameters"] == {
        "n_epochs": 3,
        "batch_size": 32,
        "learning_rate_multiplier": 3,
    }
    assert (job["seed"], job["name"], job["metadata"]) == (7, "small", {"team": "vision"})


def test_a_file_for_validation_is_the_datasets_and_shown_again(api: Api) -> None:
    files = {"training_file": api.upload()["id"], "validation_file": api.upload()["id"]}
    test = api.upload()["id"]
    job = create(api, **files, method=distillation(dataset={"test_file": test}))

    dataset = native(api, job["id"])["resolved_spec"]["dataset"]
    assert dataset["file"] == files["training_file"]
    assert (dataset["validation_file"], dataset["test_file"]) == (files["validation_file"], test)
    shown = api.client.get(f"{TUNING}/{job['id']}").json()
    assert {name: shown[name] for name in files} == files
    assert create(api)["validation_file"] is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("file-1", "given 'file-1'; expected the id of a file that this project has"),
        ("wines.csv", "given 'wines.csv'; expected the id of an uploaded file"),
        ("", "at least 1 character"),
    ],
)
def test_an_unknown_file_for_validation_is_told_under_its_own_name(
    api: Api, given: str, words: str
) -> None:
    body = {"model": "mlp", "training_file": api.upload()["id"], "validation_file": given}
    answer = api.client.post(TUNING, json=body)

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"]) == (422, "/validation_file")
    assert words in error["message"]


def test_a_native_job_is_shown_too(api: Api) -> None:
    job = api.post_job(name="digits-small", metadata={"a.b": "c"})
    shown = api.client.get(f"{TUNING}/{job['id']}").json()
    assert (shown["model"], shown["training_file"]) == ("mlp", "digits")
    assert shown["status"] == "queued"
    found = api.client.get(TUNING, params={"metadata[a.b]": "c"}).json()["data"]
    assert [one["id"] for one in found] == [job["id"]]
    assert api.client.get(TUNING, params={"metadata[a.b]": "d"}).json()["data"] == []


def test_a_registered_model_goes_on_from_its_weights(api: Api) -> None:
    job = create(api, method=distillation(student={"architecture": {"hidden_sizes": [8]}}))
    held = api.claim()
    model = api.succeed(held, {"student/model.safetensors": b"weights"})
    ended = api.client.get(f"{TUNING}/{job['id']}").json()
    assert (ended["status"], ended["fine_tuned_model"]) == ("succeeded", model)
    assert ended["finished_at"] >= ended["created_at"]

    following = create(api, model=model)
    student = native(api, following["id"])["resolved_spec"]["student"]
    assert student["architecture"]["hidden_sizes"] == [8]
    assert student["initialize"] == {"from": "model", "model": model}
    assert following["model"] == model


def test_result_files_are_read_among_the_files(api: Api) -> None:
    job = create(api)
    api.succeed(api.claim(), {"student/config.json": b"{}", "report.json": b"[]"})
    names = api.client.get(f"{TUNING}/{job['id']}").json()["result_files"]
    assert names == [f"{job['id']}:report.json", f"{job['id']}:student/config.json"]
    file = api.client.get(f"/v1/files/{names[1]}").json()
    assert (file["id"], file["bytes"], file["purpose"]) == (names[1], 2, "fine-tune-results")
    assert file["filename"] == "student/config.json"
    assert api.client.get(f"/v1/files/{names[1]}/content").content == b"{}"
    asked = api.client.head(f"/v1/files/{names[0]}/content")
    assert asked.headers["Content-Length"] == "2"
    missing = api.client.get(f"/v1/files/{job['id']}:student/none/content")
    assert missing.status_code == 404


def test_events_are_given_newest_first_and_paged(api: Api) -> None:
    job = create(api)
    api.client.post(f"{TUNING}/{job['id']}/pause")
    api.client.post(f"{TUNING}/{job['id']}/resume")
    path = f"{TUNING}/{job['id']}/events"
    first = api.client.get(path, params={"limit": 2}).json()
    rest = api.client.get(path, params={"limit": 2, "after": first["last_id"]}).json()
    kinds = [event["data"]["event"] for event in first["data"] + rest["data"]]
    assert kinds == ["job.resumed", "job.paused", "job.created"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    odd = api.client.get(path, params={"after": "last"})
    assert (odd.status_code, odd.json()["error"]["param"]) == (400, "after")


def test_a_failure_is_told(api: Api) -> None:
    job = create(api)
    held = api.claim()
    error = JobError(code="bad_data", message="line 7", retryable=False, hint="Mend the line.")
    with api.database.write() as session:
        verbs.fail(session, verbs.hold(session, *held), error, Actor.HOLDER)
    shown = api.client.get(f"{TUNING}/{job['id']}").json()
    assert shown["status"] == "failed"
    assert shown["error"] == {**error.model_dump(), "param": None}
    event = api.client.get(f"{TUNING}/{job['id']}/events").json()["data"][0]
    assert event["level"] == "error"


def test_checkpoints_are_paged_although_old_ones_go(api: Api) -> None:
    job = create(api)
    with api.database.write() as session:
        for number in (4, 5, 6):
            session.add(
                Checkpoint(
                    id=f"checkpoint-{number}",
                    job_id=job["id"],
                    number=number,
                    fence=1,
                    phase="training_student",
                    role="student",
                    step=number * 10,
                    metrics={"student/loss": 0.5, "student/validation_log_loss": 0.25},
                    created_at=database_now(session),
                )
            )
    path = f"{TUNING}/{job['id']}/checkpoints"
    page = api.client.get(path, params={"limit": 1}).json()
    assert (page["data"][0]["step_number"], page["has_more"]) == (60, True)
    assert page["data"][0]["metrics"] == {
        "student/loss": 0.5,
        "student/validation_log_loss": 0.25,
        "train_loss": 0.5,
        "full_valid_loss": 0.25,
        "step": 60,
    }
    with api.database.write() as session:
        session.delete(session.get_one(Checkpoint, page["last_id"]))
    rest = api.client.get(path, params={"after": page["last_id"]}).json()
    assert [one["step_number"] for one in rest["data"]] == [50, 40]
    assert rest["has_more"] is False


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"model": "mpl"}, "model", "perhaps 'mlp'"),
        ({"model": "model-1"}, "model", "model that this project has"),
        ({"training_file": "digit"}, "training_file", "'digits'"),
        ({"training_file": "file-1"}, "training_file", "file that this project has"),
        ({"seed": -1}, "seed", "given -1"),
        ({"suffix": ""}, "suffix", "at least 1 character"),
        ({"n_epochs": 3}, "n_epochs", "unknown field"),
        ({"validation_file": "file-1"}, "validation_file", "beside the built-in 'digits'"),
        ({"integrations": [{"type": "wandb"}]}, "integrations", "POST /v1/webhooks"),
        ({"method": {"type": "dpo"}}, "method.type", "this service distils"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "given 0"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            "greater than 0",
        ),
        (
            {"method": distillation(hyperparameters={"learning_rate_multiplier": 1e6})},
            "method.distillation.hyperparameters.learning_rate_multiplier",
            "given 1000.0",
        ),
        (
            {"method": distillation(training={"epoch": 3})},
            "method.distillation.training.epoch",
            "perhaps 'epochs'",
        ),
        ({"method": distillation(student=3)}, "method.distillation.student", "JSON object"),
        (
            {"method": distillation(objective=[{"loss": "soft_target"}])},
            "method.distillation.objective[0].loss",
            "perhaps 'soft_targets'",
        ),
        (
            {"seed": 1, "method": distillation(training={"seed": 2})},
            "seed",
            "given 1, and 2 as `training.seed`",
        ),
        (
            {
                "model": "cifar_resnet",
                "method": distillation(student={"architecture": {"variant": "110"}}),
            },
            "model",
            "expected a `teacher`",
        ),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_the_request(
    api: Api, fields: dict[str, Any], param: str, words: str
) -> None:
    body = {"model": "mlp", "training_file": "digits", **fields}
    answer = api.client.post(TUNING, json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    pointers = [problem["pointer"] for problem in answer.json()["errors"]]
    assert len(set(pointers)) == len(pointers)
    assert api.client.get(TUNING).json()["data"] == []


def test_nothing_is_made_twice_under_one_key(api: Api) -> None:
    body = {"model": "mlp", "training_file": "digits"}
    headers = {"Idempotency-Key": "one"}
    first = api.client.post(TUNING, json=body, headers=headers)
    again = api.client.post(TUNING, json=body, headers=headers)
    assert first.json() == again.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = api.client.post(TUNING, json={**body, "seed": 1}, headers=headers)
    assert (other.status_code, other.json()["error"]["param"]) == (422, "Idempotency-Key")
    # The native route has keys of its own.
    assert api.client.post(JOBS, json=spec(), headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ({"name": "mlp", "hidden_sizes": [32, 16]}, {"hidden_sizes": [128, 64], "dropout": 0.2}),
        ({"name": "mlp", "hidden_sizes": []}, {"hidden_sizes": [256]}),
        ({"name": "mlp", "hidden_sizes": [40_000, 8]}, {"hidden_sizes": [65_536, 32]}),
        ({"name": "mlp", "hidden_sizes": [65_536]}, None),
        ({"name": "convnet", "channels": [8, 16]}, {"channels": [16, 32]}),
        ({"name": "cifar_resnet", "variant": "20"}, {"variant": "56"}),
        ({"name": "cifar_resnet", "variant": "8x4"}, {"variant": "32x4"}),
        ({"name": "cifar_resnet", "variant": "32x4"}, None),
    ],
)
def test_a_default_teacher_is_larger_and_of_the_same_family(
    student: dict[str, Any], teacher: dict[str, Any] | None
) -> None:
    found = larger(ARCHITECTURE.validate_python(student))
    if teacher is None:
        assert found is None
    else:
        assert found is not None
        assert found.name == student["name"]
        assert found.model_dump().items() >= teacher.items()
