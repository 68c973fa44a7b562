"""Files that come in parts, over HTTP."""

import hashlib
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from obstore.exceptions import BaseError
from sqlalchemy import update

from app.db.session import database_now
from app.db.uploads import Upload
from app.services.completion import KEPT_FOR, UploadCollector
from tests.unit.app.conftest import Api

UPLOADS = "/v1/uploads"
CONTENT = b"a,label\n" + b"1,x\n2,y\n" * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
NEW = {"filename": "a.csv", "purpose": "dataset", "bytes": len(CONTENT), "mime_type": "text/csv"}
CUT = 33_333


def begin(api: Api, **changes: Any) -> str:  # noqa: ANN401 (an upload's fields)
    answer = api.client.post(UPLOADS, json={**NEW, **changes})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["file"]) == ("pending", None)
    return str(answer.json()["id"])


def send(api: Api, upload_id: str, content: bytes) -> Any:  # noqa: ANN401 (an answer)
    return api.client.post(f"{UPLOADS}/{upload_id}/parts", files={"data": ("part", content)})


def complete(api: Api, upload_id: str, **body: Any) -> Any:  # noqa: ANN401 (an answer)
    return api.client.post(f"{UPLOADS}/{upload_id}/complete", json=body)


def stored(api: Api) -> list[str]:
    folder = api.folder / "blobs" / "uploads"
    return [path.name for path in folder.rglob("*") if path.is_file()]


def age(api: Api, upload_id: str, by: timedelta) -> None:
    with api.database.write() as session:
        moment = database_now(session) - by
        session.execute(update(Upload).where(Upload.id == upload_id).values(expires_at=moment))


def test_parts_become_a_file_in_the_order_that_is_asked_for(api: Api) -> None:
    upload_id = begin(api)
    second = send(api, upload_id, CONTENT[CUT:]).json()
    first = send(api, upload_id, CONTENT[:CUT]).json()
    body = {
        "part_ids": [first["id"], second["id"]],
        "sha256": SHA256,
        "md5": hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    }

    answer = complete(api, upload_id, **body)

    upload = answer.json()
    assert (upload["status"], upload["parts"]) == ("completed", [])
    assert upload["file"]["sha256"] == SHA256
    assert upload["file"]["media_type"] == "text/plain"
    content = api.client.get(f"/v1/files/{upload['file']['id']}/content").content
    assert content == CONTENT
    assert stored(api) == []
    assert complete(api, upload_id, **body).json() == upload
    assert api.client.get(f"{UPLOADS}/{upload_id}").json() == upload
    assert len(api.client.get("/v1/files").json()["data"]) == 1


def test_a_client_goes_on_after_a_break_with_what_has_arrived(api: Api) -> None:
    upload_id = begin(api)
    pieces = [CONTENT[start : start + CUT] for start in range(0, len(CONTENT), CUT)]
    send(api, upload_id, pieces[1])
    assert send(api, upload_id, pieces[1]).json() == send(api, upload_id, pieces[1]).json()

    arrived = {
        part["sha256"]: part["id"]
        for part in api.client.get(f"{UPLOADS}/{upload_id}").json()["parts"]
    }
    assert len(arrived) == 1
    ids = []
    for piece in pieces:
        digest = hashlib.sha256(piece).hexdigest()
        ids.append(arrived.get(digest) or send(api, upload_id, piece).json()["id"])

    assert complete(api, upload_id, part_ids=ids).json()["file"]["sha256"] == SHA256


def test_a_part_may_be_named_twice(api: Api) -> None:
    upload_id = begin(api, bytes=4)
    part = send(api, upload_id, b"ab").json()["id"]
    file = complete(api, upload_id, part_ids=[part, part]).json()["file"]
    assert api.client.get(f"/v1/files/{file['id']}/content").content == b"abab"


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"sha256": "0" * 64}, "/sha256", f"given {'0' * 64}; the parts together have {SHA256}"),
        ({"md5": "0" * 32}, "/md5", f"given {'0' * 32}; the parts together have {MD5}"),
        ({"part_ids": ["part-x"]}, "/part_ids/0", "given 'part-x'; expected the id of one of"),
        ({"sha256": "x"}, "/sha256", 'given "x"'),
        ({"part_ids": []}, "/part_ids", "given []"),
    ],
)
def test_what_is_not_as_announced_is_refused_with_what_was_found(
    api: Api, changes: dict[str, Any], pointer: str, words: str
) -> None:
    upload_id = begin(api)
    part = send(api, upload_id, CONTENT).json()["id"]

    answer = complete(api, upload_id, **{"part_ids": [part], **changes})

    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["pointer"] == pointer
    assert words in problem["message"]
    assert complete(api, upload_id, part_ids=[part], sha256=SHA256).json()["file"]


def test_parts_of_another_size_are_refused_with_both_sizes(api: Api) -> None:
    upload_id = begin(api)
    part = send(api, upload_id, CONTENT[:CUT]).json()["id"]

    answer = complete(api, upload_id, part_ids=[part])

    assert answer.status_code == 422
    assert str(CUT) in answer.json()["detail"]
    assert str(len(CONTENT)) in answer.json()["detail"]


def test_a_cancelled_upload_keeps_nothing_and_takes_nothing(api: Api) -> None:
    upload_id = begin(api)
    part = send(api, upload_id, CONTENT).json()["id"]
    assert stored(api)

    for _ in range(2):
        answer = api.client.post(f"{UPLOADS}/{upload_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    assert stored(api) == []
    assert send(api, upload_id, CONTENT).status_code == 409
    assert complete(api, upload_id, part_ids=[part]).status_code == 409


def test_a_completed_upload_is_not_cancelled(api: Api) -> None:
    upload_id = begin(api)
    part = send(api, upload_id, CONTENT).json()["id"]
    complete(api, upload_id, part_ids=[part])
    answer = api.client.post(f"{UPLOADS}/{upload_id}/cancel")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")


def test_more_than_twice_what_was_announced_is_refused(api: Api) -> None:
    upload_id = begin(api, bytes=4)
    assert send(api, upload_id, b"abcde").status_code == 409
    for part in (b"abcd", b"efgh"):
        assert send(api, upload_id, part).status_code == 200
    assert send(api, upload_id, b"x").status_code == 409
    assert send(api, upload_id, b"").status_code == 422


def test_a_part_beyond_the_limit_is_413(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.uploads.MOST_PART_BYTES", 100)
    assert send(api, begin(api), b"x" * 101).status_code == 413


@pytest.mark.parametrize(
    "changes",
    [{"bytes": 0}, {"bytes": 11 * 2**30}, {"filename": "../x"}, {"purpose": "a b"}, {"more": 1}],
)
def test_an_odd_announcement_is_refused(api: Api, changes: dict[str, Any]) -> None:
    assert api.client.post(UPLOADS, json={**NEW, **changes}).status_code == 422


def test_an_expired_upload_takes_no_parts_and_is_forgotten_with_them(api: Api) -> None:
    upload_id, other = begin(api), begin(api)
    part = send(api, upload_id, CONTENT).json()["id"]
    send(api, other, CONTENT)
    age(api, upload_id, timedelta(seconds=1))
    collector = UploadCollector(api.database, api.parts.storage)
    collector.tick()

    assert api.client.get(f"{UPLOADS}/{upload_id}").json()["status"] == "expired"
    assert send(api, upload_id, CONTENT).status_code == 409
    assert complete(api, upload_id, part_ids=[part]).status_code == 409

    age(api, upload_id, KEPT_FOR + timedelta(seconds=1))
    UploadCollector(api.database, api.parts.storage).tick()
    assert api.client.get(f"{UPLOADS}/{upload_id}").status_code == 404
    assert len(stored(api)) == 1
    assert len(api.client.get(f"{UPLOADS}/{other}").json()["parts"]) == 1


def test_a_completed_upload_is_forgotten_and_its_file_stays(api: Api) -> None:
    upload_id = begin(api)
    part = send(api, upload_id, CONTENT).json()["id"]
    file = complete(api, upload_id, part_ids=[part]).json()["file"]
    age(api, upload_id, KEPT_FOR + timedelta(seconds=1))
    UploadCollector(api.database, api.parts.storage).tick()
    assert api.client.get(f"/v1/files/{file['id']}/content").content == CONTENT


def test_a_part_whose_bytes_were_not_stored_is_not_shown_and_may_come_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = begin(api)
    with monkeypatch.context() as patch:
        patch.setattr(api.parts.storage, "put_part", storage_away)
        assert send(api, upload_id, CONTENT).status_code == 503
    assert api.client.get(f"{UPLOADS}/{upload_id}").json()["parts"] == []
    part = send(api, upload_id, CONTENT).json()["id"]
    assert complete(api, upload_id, part_ids=[part]).json()["status"] == "completed"


def storage_away(*_: object) -> NoReturn:
    raise BaseError("no answer")
