"""Jobs name models by names, versions and aliases, which are those of the moment of posting."""

from typing import Any

import pytest

from tests.unit.app.conftest import JOBS, Api, spec
from tests.unit.app.refused import told
from tests.unit.app.teachers import registered

MLP = {"name": "mlp", "hidden_sizes": [4]}


@pytest.fixture
def versions(api: Api) -> list[str]:
    """Register three versions of `mine`, the second of which is in production."""
    ids = [str(registered(api, name="mine")["id"]) for _ in range(3)]
    api.client.put("/v1/model_aliases/mine@production", json={"version": 2})
    return ids


def by(named: str) -> dict[str, Any]:
    """Give a spec in which that model stands wherever one can."""
    model = {"source": "model", "model": named}
    trained = {"source": "train", "architecture": MLP}
    members = [{"teacher": trained}, {"teacher": model}]
    return spec(
        teacher={"source": "ensemble", "mean": "logits", "members": members},
        student={"architecture": MLP, "initialize": {"from": "model", "model": named}},
    )


def named_in(job: dict[str, Any], which: str = "resolved_spec") -> tuple[str, str]:
    parts = job[which]
    member = parts["teacher"]["members"][1]["teacher"]["model"]
    return member, parts["student"]["initialize"]["model"]


@pytest.mark.parametrize(
    ("named", "version"),
    [("mine", 3), ("mine@latest", 3), ("mine@1", 1), ("mine@production", 2)],
)
def test_a_name_is_the_version_that_it_stands_for(
    api: Api, versions: list[str], named: str, version: int
) -> None:
    checked = api.client.post(f"{JOBS}?validate_only=true", json=by(named)).json()
    job = api.client.post(JOBS, json=by(named)).json()

    model = versions[version - 1]
    assert named_in(checked) == named_in(job) == (model, model)
    assert named_in(job, "spec") == (named, named)


def test_a_job_has_the_model_that_it_was_posted_with_and_so_have_those_made_from_it(
    api: Api, versions: list[str]
) -> None:
    job = api.client.post(JOBS, json=by("mine@production")).json()
    api.client.put("/v1/model_aliases/mine@production", json={"version": 3})
    path = f"{JOBS}/{job['id']}"

    again = api.client.post(JOBS, json=job["resolved_spec"]).json()
    clone = api.client.post(f"{path}/clone").json()
    api.client.post(f"{path}/cancel")
    retry = api.client.post(f"{path}/retry").json()
    new = api.client.post(JOBS, json=by("mine@production")).json()

    assert api.client.get(path).json()["resolved_spec"] == job["resolved_spec"]
    assert again["resolved_spec"] == clone["resolved_spec"] == retry["resolved_spec"]
    assert named_in(again)[0] == versions[1]
    assert named_in(new)[0] == versions[2]


def test_what_a_name_stands_for_is_not_deleted_while_the_job_lasts(
    api: Api, versions: list[str]
) -> None:
    job = api.post_job(teacher={"source": "model", "model": "mine"})
    assert job["teacher_model"] == versions[2]

    assert api.client.delete(f"/v1/models/{versions[2]}").status_code == 409
    assert api.client.delete(f"/v1/models/{versions[0]}").status_code == 200


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("mine@4", "no such version or alias, GET /v1/models?name=mine lists"),
        ("mine@staging", "no such version or alias"),
        ("mime", "NAME, NAME@VERSION or NAME@ALIAS, perhaps 'mine'"),
        ("model-none", "the id of a model that this project has"),
    ],
)
def test_a_name_that_there_is_not_is_told_wherever_it_stands(
    api: Api, versions: list[str], named: str, words: str
) -> None:
    body = by(named)
    problems = told(api, teacher=body["teacher"], student=body["student"])

    assert [(one["pointer"], one["code"]) for one in problems] == [
        ("/teacher/members/1/teacher/model", "unknown_model"),
        ("/student/initialize/model", "unknown_model"),
    ]
    assert all(words in one["message"] for one in problems)


def test_a_name_of_another_project_is_none(api: Api, versions: list[str]) -> None:
    foreign = api.key(project="other")
    body = spec(teacher={"source": "model", "model": "mine"})

    answer = api.client.post(JOBS, json=body, headers=foreign)

    assert answer.json()["errors"][0]["code"] == "unknown_model"
    assert "perhaps" not in answer.text


def test_fine_tuning_goes_on_from_a_name(api: Api, versions: list[str]) -> None:
    def tune(model: str) -> Any:  # noqa: ANN401 (an answer)
        body = {"model": model, "training_file": "digits", "method": {"type": "distillation"}}
        return api.client.post("/v1/fine_tuning/jobs", json=body)

    job = tune("mine@production").json()

    assert job["model"] == versions[1]
    student = job["method"]["distillation"]["student"]
    assert student["initialize"] == {"from": "model", "model": versions[1]}
    assert student["architecture"]["hidden_sizes"] == [4]
    refused = tune("mine@9").json()["error"]
    assert (refused["code"], refused["param"]) == ("invalid_payload", "model")
    assert "no such version or alias" in refused["message"]
