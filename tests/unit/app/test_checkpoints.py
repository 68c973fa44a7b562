"""A job's checkpoints over HTTP: listed, and the model in training taken away."""

import hashlib
from typing import Any

import pytest
from uuid_utils import uuid7

from app.db import verbs
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.session import database_now
from tests.unit.app.conftest import JOBS, Api

FOLDER = "train_student.partial"
FILES = {
    f"{FOLDER}/config.json": b"{}",
    f"{FOLDER}/model.safetensors": b"weights",
    "train_teacher/model.safetensors": b"of an earlier stage",
    f"{FOLDER}-other/model.safetensors": b"of a folder with a longer name",
}


def commit(api: Api, held: tuple[str, int], step: int, folder: str | None = FOLDER) -> str:
    """Let an attempt keep a checkpoint; return its id."""
    rows = []
    for path, content in FILES.items():
        (api.folder / "content").write_bytes(content)
        digest = api.parts.storage.put(api.folder / "content")
        rows.append(CheckpointFile(path=path, bytes=len(content), sha256=digest))
    with api.database.write() as session:
        checkpoint = Checkpoint(
            id=f"checkpoint-{uuid7()}",
            phase="training_student",
            role="student",
            folder=folder,
            step=step,
            epoch=1,
            metrics={"loss": 0.5},
            created_at=database_now(session),
        )
        verbs.commit_checkpoint(session, verbs.hold(session, *held), checkpoint, rows)
        return checkpoint.id


@pytest.fixture
def held(api: Api) -> tuple[str, int]:
    api.post_job()
    return api.claim()


def listed(api: Api, job_id: str) -> dict[str, Any]:
    answer = api.client.get(f"{JOBS}/{job_id}/checkpoints")
    assert answer.status_code == 200
    page: dict[str, Any] = answer.json()
    return page


def test_a_job_without_checkpoints_has_an_empty_list(api: Api, held: tuple[str, int]) -> None:
    assert listed(api, held[0])["data"] == []


def test_the_two_newest_are_listed_newest_first_and_all_are_counted(
    api: Api, held: tuple[str, int]
) -> None:
    made = [commit(api, held, step) for step in (10, 20, 30)]

    page = listed(api, held[0])

    assert [one["id"] for one in page["data"]] == [made[2], made[1]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[2], made[1], False)
    path = f"{JOBS}/{held[0]}/checkpoints"
    first = api.client.get(path, params={"limit": 1}).json()
    rest = api.client.get(path, params={"after": first["last_id"]}).json()
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert first["data"] + rest["data"] == page["data"]
    newest = page["data"][0]
    assert (newest["job_id"], newest["number"], newest["step"]) == (held[0], 3, 30)
    assert (newest["phase"], newest["role"]) == ("training_student", "student")
    assert newest["metrics"] == {"loss": 0.5}
    assert api.client.get(f"{JOBS}/{held[0]}").json()["num_checkpoints"] == 3


def test_only_the_model_in_training_is_shown_by_paths_within_its_folder(
    api: Api, held: tuple[str, int]
) -> None:
    commit(api, held, 10)

    files = listed(api, held[0])["data"][0]["files"]

    assert [(file["path"], file["bytes"], file["media_type"]) for file in files] == [
        ("config.json", 2, "application/json"),
        ("model.safetensors", 7, "application/octet-stream"),
    ]
    assert files[1]["sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_between_two_trainings_there_is_no_model_to_show(api: Api, held: tuple[str, int]) -> None:
    checkpoint = commit(api, held, 10, folder=None)

    assert listed(api, held[0])["data"][0]["files"] == []
    path = f"{JOBS}/{held[0]}/checkpoints/{checkpoint}/files/model.safetensors"
    assert api.client.get(path).status_code == 404


def test_a_file_is_downloaded_like_a_jobs(api: Api, held: tuple[str, int]) -> None:
    path = f"{JOBS}/{held[0]}/checkpoints/{commit(api, held, 10)}/files/model.safetensors"

    answer = api.client.get(path)

    assert (answer.status_code, answer.content) == (200, b"weights")
    assert answer.headers["ETag"] == f'"{hashlib.sha256(b"weights").hexdigest()}"'
    assert "model.safetensors" in answer.headers["Content-Disposition"]
    assert api.client.head(path).headers["Content-Length"] == "7"
    assert api.client.get(path, headers={"Range": "bytes=1-2"}).content == b"ei"


@pytest.mark.parametrize(
    "path",
    [
        "absent",
        "train_teacher/model.safetensors",
        f"{FOLDER}/model.safetensors",
        "../train_teacher/model.safetensors",
        "%2e%2e/train_teacher/model.safetensors",
        "-other/model.safetensors",
        "",
    ],
)
def test_what_else_a_checkpoint_holds_is_not_to_be_had(
    api: Api, held: tuple[str, int], path: str
) -> None:
    checkpoint = commit(api, held, 10)
    answer = api.client.get(f"{JOBS}/{held[0]}/checkpoints/{checkpoint}/files/{path}")
    assert answer.status_code == 404


def test_a_checkpoint_is_found_only_by_its_own_job_and_project(
    api: Api, held: tuple[str, int]
) -> None:
    checkpoint = commit(api, held, 10)
    other_job = api.post_job()["id"]
    other = api.key(project="other")
    inside = f"checkpoints/{checkpoint}/files/config.json"

    assert api.client.get(f"{JOBS}/{held[0]}/{inside}").status_code == 200
    assert api.client.get(f"{JOBS}/{other_job}/{inside}").status_code == 404
    assert api.client.get(f"{JOBS}/{held[0]}/{inside}", headers=other).status_code == 404
    assert api.client.get(f"{JOBS}/{held[0]}/checkpoints", headers=other).status_code == 404


def test_a_forgotten_checkpoint_is_gone_and_says_so(api: Api, held: tuple[str, int]) -> None:
    first = commit(api, held, 10)
    for step in (20, 30):
        commit(api, held, step)

    answer = api.client.get(f"{JOBS}/{held[0]}/checkpoints/{first}/files/config.json")

    assert answer.status_code == 404
    assert "only its newest are kept" in answer.json()["detail"]
