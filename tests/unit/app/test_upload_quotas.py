"""What uploads in parts take of a project's quota."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.contracts.projects import Quotas
from app.db.models import Project
from app.services.completion import KEPT_FOR, UploadCollector
from app.services.quotas import set_quotas
from tests.unit.app.conftest import Api
from tests.unit.app.test_uploads import (
    CONTENT,
    CUT,
    NEW,
    UPLOADS,
    age,
    begin,
    complete,
    send,
    stored,
)


def test_an_upload_in_parts_is_refused_where_the_project_has_no_room(api: Api) -> None:
    upload_id, other = begin(api), begin(api)
    parts = [send(api, upload_id, piece).json()["id"] for piece in (CONTENT[:CUT], CONTENT[CUT:])]
    limit_storage(api, len(CONTENT) - 1)
    assert send(api, other, CONTENT[:CUT]).status_code == 429

    answer = complete(api, upload_id, part_ids=parts)

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    # The file takes the place of its parts.
    limit_storage(api, len(CONTENT))
    assert complete(api, upload_id, part_ids=parts).json()["status"] == "completed"
    assert used(api) == len(CONTENT)


def test_an_upload_larger_than_the_whole_quota_is_refused_when_it_is_announced(api: Api) -> None:
    limit_storage(api, len(CONTENT) - 1)
    answer = api.client.post(UPLOADS, json=NEW)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    assert f"more than the {len(CONTENT) - 1} bytes" in answer.json()["detail"]


def test_of_a_part_that_comes_twice_while_its_upload_is_cancelled_nothing_is_left(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = begin(api)
    put_part = api.parts.storage.put_part

    def put_last(*arguments: Any) -> None:  # noqa: ANN401 (a part and its bytes)
        with monkeypatch.context() as patch:
            patch.setattr(api.parts.storage, "put_part", put_part)
            assert send(api, upload_id, CONTENT).is_success
        assert api.client.post(f"{UPLOADS}/{upload_id}/cancel").is_success
        put_part(*arguments)

    monkeypatch.setattr(api.parts.storage, "put_part", put_last)

    assert send(api, upload_id, CONTENT).status_code == 409

    assert (used(api), stored(api)) == (0, [])


def test_of_a_part_whose_upload_is_forgotten_meanwhile_nothing_is_left(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = begin(api)
    put_part = api.parts.storage.put_part

    def put_late(*arguments: Any) -> None:  # noqa: ANN401 (a part and its bytes)
        age(api, upload_id, KEPT_FOR + timedelta(seconds=1))
        UploadCollector(api.database, api.parts.storage).tick()
        put_part(*arguments)

    monkeypatch.setattr(api.parts.storage, "put_part", put_late)

    assert send(api, upload_id, CONTENT).status_code == 404

    assert (used(api), stored(api)) == (0, [])


def limit_storage(api: Api, most: int) -> None:
    with api.database.write() as session:
        project = session.scalars(select(Project.id).where(Project.name == "default")).one()
        set_quotas(session, project, Quotas(stored_bytes=most))


def used(api: Api) -> int:
    return int(api.client.get("/v1/usage").json()["stored_bytes"]["used"])


def test_parts_count_against_the_project_s_quota_each_time_they_are_stored(api: Api) -> None:
    first, second = begin(api), begin(api)
    for upload_id in (first, first, second):
        send(api, upload_id, CONTENT)
    assert (used(api), len(stored(api))) == (2 * len(CONTENT), 2)
    limit_storage(api, 2 * len(CONTENT))
    assert send(api, begin(api), CONTENT).status_code == 429
    api.client.post(f"{UPLOADS}/{first}/cancel")
    assert used(api) == len(CONTENT)


def test_a_part_that_is_named_often_counts_in_full_before_a_file_is_made(api: Api) -> None:
    times = 1000
    upload_id = begin(api, bytes=times * len(CONTENT))
    part = send(api, upload_id, CONTENT).json()["id"]
    limit_storage(api, times * len(CONTENT) - 1)

    answer = complete(api, upload_id, part_ids=[part] * times)

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    blobs = [path for path in (api.folder / "blobs").rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in blobs] == [len(CONTENT)]


@pytest.mark.parametrize("end", ["cancel", "complete"])
def test_a_part_that_comes_when_its_upload_ends_counts_until_that_is_forgotten(
    api: Api, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    upload_id = begin(api)
    part = send(api, upload_id, CONTENT).json()["id"]
    put_part = api.parts.storage.put_part

    def put_late(*arguments: Any) -> None:  # noqa: ANN401 (a part and its bytes)
        body = {"part_ids": [part]} if end == "complete" else None
        assert api.client.post(f"{UPLOADS}/{upload_id}/{end}", json=body).is_success
        put_part(*arguments)

    monkeypatch.setattr(api.parts.storage, "put_part", put_late)

    assert send(api, upload_id, CONTENT[:CUT]).status_code == 409

    assert stored(api) == []
    kept = len(CONTENT) if end == "complete" else 0
    assert used(api) == kept + CUT
    assert api.client.get(f"{UPLOADS}/{upload_id}").json()["parts"] == []
    age(api, upload_id, KEPT_FOR + timedelta(seconds=1))
    UploadCollector(api.database, api.parts.storage).tick()
    assert (used(api), stored(api)) == (kept, [])
