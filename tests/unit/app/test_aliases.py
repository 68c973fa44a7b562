"""Names, versions and aliases of models over HTTP."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from app.contracts.naming import LONGEST_NAME, Reference, parse, published_name
from app.db.models import JobFile, Model
from app.db.table import Table
from tests.onnx_files import tiny_onnx
from tests.unit.app.conftest import JOBS, Api

ALIASES = "/v1/model_aliases"
PRODUCTION = f"{ALIASES}/digits@production"


def publish(api: Api, name: str | None = "digits", mark: bytes = b"{}") -> str:
    """Let a job of a name end well; return its student's id."""
    api.post_job(name=name)
    return api.succeed(
        api.claim(), {"student/config.json": mark, "student/onnx/model.onnx": tiny_onnx()}
    )


def move(api: Api, version: int, path: str = PRODUCTION, **headers: str) -> Any:  # noqa: ANN401 (an answer)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.client.put(path, json={"version": version}, headers=named)


def read(api: Api, named: str) -> dict[str, Any]:
    answer = api.client.get(f"/v1/models/{named}")
    assert answer.status_code == 200, answer.text
    model: dict[str, Any] = answer.json()
    return model


def test_the_students_of_jobs_of_one_name_are_its_versions(api: Api) -> None:
    first, other, second = publish(api), publish(api, "other"), publish(api)
    unnamed = publish(api, None)
    models = {
        model["id"]: (model["name"], model["version"])
        for model in api.client.get("/v1/models").json()["data"]
    }
    assert models == {
        first: ("digits", 1),
        second: ("digits", 2),
        other: ("other", 1),
        unnamed: (None, None),
    }
    wanted = {"name": "digits", "role": "student"}
    listed = api.client.get("/v1/models", params=wanted).json()["data"]
    assert [model["id"] for model in listed] == [second, first]
    assert api.client.get("/v1/models", params={"role": "teacher"}).json()["data"] == []


def test_the_number_of_a_version_that_is_deleted_does_not_come_again(api: Api) -> None:
    publish(api)
    job_id = read(api, "digits")["job_id"]
    assert api.client.delete(f"{JOBS}/{job_id}").status_code == 204
    assert api.client.get("/v1/models/digits").status_code == 404
    publish(api)
    assert read(api, "digits")["version"] == 2


def test_every_route_that_reads_a_model_takes_its_name(api: Api) -> None:
    first, second = publish(api, mark=b"first"), publish(api, mark=b"second")
    move(api, 1)
    for named, model_id, content in [
        ("digits", second, b"second"),
        ("digits@latest", second, b"second"),
        ("digits@1", first, b"first"),
        ("digits@production", first, b"first"),
    ]:
        path = f"/v1/models/{named}"
        assert read(api, named)["id"] == model_id
        assert api.client.get(f"{path}/files/config.json").content == content
        zipped = api.client.get(f"{path}/download").content
        assert zipped == api.client.get(f"/v1/models/{model_id}/download").content
        asked = api.client.post(f"{path}/predict", json={"inputs": [[1, 2]]}).json()
        assert asked["answers"]["model"] == model_id
    for unknown in ("digits@3", "digits@other", "digits@", "digits@1@1", "other", "digits@0"):
        assert api.client.get(f"/v1/models/{unknown}").status_code == 404, unknown


def test_an_alias_is_made_moved_listed_and_removed(api: Api) -> None:
    first, second = publish(api), publish(api)
    made = move(api, 1)
    assert made.status_code == 200, made.text
    told = {"id": "digits@production", "name": "digits", "alias": "production", "version": 1}
    assert made.json() | told | {"model_id": first, "move": 1} == made.json()
    moved = move(api, 2).json()
    assert (moved["model_id"], moved["move"]) == (second, 2)
    assert api.client.get(PRODUCTION).json() == moved
    assert (read(api, first)["aliases"], read(api, second)["aliases"]) == ([], ["production"])

    other = move(api, 1, f"{ALIASES}/digits@canary").json()
    page = api.client.get(ALIASES, params={"name": "digits", "limit": 1}).json()
    assert (page["data"], page["has_more"]) == ([other], True)
    page = api.client.get(ALIASES, params={"after": page["last_id"]}).json()
    assert (page["data"], page["has_more"]) == ([moved], False)

    assert api.client.delete(PRODUCTION).status_code == 204
    assert api.client.get(PRODUCTION).status_code == 404
    assert api.client.delete(PRODUCTION).status_code == 404
    assert read(api, second)["aliases"] == []
    done = [entry["action"] for entry in api.client.get("/v1/audit").json()["data"]]
    assert done[:4] == ["model_alias.remove", *["model_alias.move"] * 3]


def test_who_names_what_they_saw_does_not_overwrite_what_they_did_not_see(api: Api) -> None:
    publish(api)
    publish(api)
    assert move(api, 1, If_Match="*").status_code == 412
    seen = move(api, 1, If_None_Match="*").headers["etag"]
    assert move(api, 2, If_None_Match="*").status_code == 412
    assert move(api, 2, If_Match=seen).status_code == 200

    late = move(api, 1, If_Match=seen)

    assert late.status_code == 412
    assert '"2"' in late.json()["detail"]
    headers = {"If-Match": seen}
    assert api.client.delete(PRODUCTION, headers=headers).status_code == 412
    assert api.client.get(PRODUCTION).json()["version"] == 2
    headers = {"If-Match": api.client.get(PRODUCTION).headers["etag"]}
    assert api.client.delete(PRODUCTION, headers=headers).status_code == 204
    # An alias of that word that is made again has another entity tag than the first one had.
    assert move(api, 1).headers["etag"] not in {seen, headers["If-Match"]}
    assert move(api, 1, If_None_Match='"1"').status_code == 400


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [
        ("digits@production", 3, 404),
        ("other@production", 1, 404),
        ("production", 1, 404),
        ("digits", 1, 400),
        ("digits@latest", 1, 400),
        ("digits@3", 1, 400),
        ("digits@a b", 1, 400),
        ("digits@" + "a" * 64, 1, 400),
        ("digits@production", 0, 422),
    ],
)
def test_what_cannot_be_an_alias_is_refused(api: Api, path: str, version: int, status: int) -> None:
    publish(api)
    assert move(api, version, f"{ALIASES}/{path}").status_code == status
    assert api.client.get(ALIASES).json()["data"] == []


def test_a_job_whose_student_an_alias_names_is_kept(api: Api) -> None:
    publish(api)
    job_id = read(api, "digits")["job_id"]
    move(api, 1)
    refused = api.client.delete(f"{JOBS}/{job_id}")
    assert refused.status_code == 409
    assert "digits@production" in refused.json()["detail"]
    assert read(api, "digits@production")["job_id"] == job_id
    api.client.delete(PRODUCTION)
    assert api.client.delete(f"{JOBS}/{job_id}").status_code == 204


def test_another_project_has_names_of_its_own(api: Api) -> None:
    publish(api)
    move(api, 1)
    other = api.client.post("/v1/projects", json={"name": "other"}).json()["id"]
    body = {"name": "theirs", "scopes": ["jobs:read", "jobs:write", "models:read"]}
    key = api.client.post(f"/v1/projects/{other}/api_keys", json=body).json()["secret"]
    api.client.headers["Authorization"] = f"Bearer {key}"
    assert api.client.get(ALIASES).json()["data"] == []
    for named in ("digits", "digits@1", "digits@production"):
        assert api.client.get(f"/v1/models/{named}").status_code == 404
    assert move(api, 1).status_code == 404
    publish(api)
    assert (read(api, "digits")["version"], read(api, "digits")["owned_by"]) == (1, other)


def test_a_hub_repository_has_its_versions_and_aliases_as_revisions(api: Api) -> None:
    publish(api, mark=b"first")
    publish(api, mark=b"second")
    move(api, 1)
    project = read(api, "digits")["owned_by"]

    def commit(revision: str, name: str = "digits") -> Any:  # noqa: ANN401 (JSON)
        answer = api.client.get(f"/api/models/{project}/{name}/revision/{revision}").json()
        return answer.get("sha", answer.get("detail"))

    first, second = commit("1"), commit("2")
    assert first != second
    assert [commit(word) for word in ("production", "main", "latest")] == [first, second, second]
    for revision, content in [(first, b"first"), (second, b"second"), ("main", b"second")]:
        answer = api.client.get(f"/{project}/digits/resolve/{revision}/config.json")
        assert answer.content == content
        assert answer.headers["x-repo-commit"] in {first, second}
    assert "expected 'main' or a version" in commit("other")
    model_id = read(api, "digits@1")["id"]
    assert commit("main", model_id) == first
    answer = api.client.get(f"/api/models/{project}/{model_id}/revision/production")
    assert answer.headers["x-error-code"] == "RevisionNotFound"


@pytest.fixture
def loaded() -> Iterator[list[str]]:
    """Give a list of the tables of all rows that are loaded."""
    names: list[str] = []

    def note(row: Table, _context: object) -> None:
        names.append(type(row).__name__)

    for table in (JobFile, Model):
        event.listen(table, "load", note)
    yield names
    for table in (JobFile, Model):
        event.remove(table, "load", note)


def test_a_file_at_a_commit_is_found_as_quickly_among_many_versions(
    api: Api, loaded: list[str]
) -> None:
    publish(api, mark=b"0")
    project = read(api, "digits")["owned_by"]
    commit = api.client.get(f"/api/models/{project}/digits").json()["sha"]

    def read_at_commit() -> Counter[str]:
        loaded.clear()
        answer = api.client.get(f"/{project}/digits/resolve/{commit}/config.json")
        assert (answer.content, answer.headers["x-repo-commit"]) == (b"0", commit)
        return Counter(loaded)

    for number in range(1, 3):
        publish(api, mark=str(number).encode())
    of_few = read_at_commit()
    for number in range(3, 9):
        publish(api, mark=str(number).encode())
    assert read_at_commit() == of_few
    assert of_few["JobFile"] == 2


@pytest.mark.parametrize(
    ("job_name", "role", "expected"),
    [
        ("digits", "student", "digits"),
        ("digits", "teacher", "digits-teacher"),
        ("Digits, small & fast!", "student", "Digits-small-fast"),
        ("a..b--c", "student", "a-b-c"),
        ("model-x", "student", "x"),
        ("-model-.model-x", "student", "x"),
        ("digits.git", "student", "digits"),
        ("digits.git.git-", "teacher", "digits-teacher"),
        ("model", "student", "model"),
        ("model", "teacher", None),
        ("数字", "student", None),
        ("-", "teacher", None),
        (None, "student", None),
        ("a" * LONGEST_NAME, "student", "a" * LONGEST_NAME),
        ("a" * LONGEST_NAME, "teacher", None),
    ],
)
def test_the_name_of_a_job_is_that_of_its_models_in_the_letters_of_a_name(
    job_name: str | None, role: str, expected: str | None
) -> None:
    name = published_name(job_name, role)
    assert name == expected
    if name is not None:
        assert parse(name) == Reference(name)
