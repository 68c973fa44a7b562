"""Blobs over HTTP: ranges, conditions, digests, redirects."""

import base64
import hashlib
import urllib.request
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.db.table import Table
from app.main import create_app
from tests.unit.app.conftest import Api, settings

CONTENT = b"0123456789"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA256}"'


@pytest.fixture
def path(api: Api) -> str:
    return f"/v1/files/{api.upload(CONTENT, 'numbers é.txt')['id']}/content"


def test_a_download_says_what_it_is(api: Api, path: str) -> None:
    for answer in (api.client.get(path), api.client.head(path)):
        assert answer.status_code == 200
        assert answer.headers["ETag"] == ETAG
        assert answer.headers["Content-Length"] == "10"
        assert answer.headers["Accept-Ranges"] == "bytes"
        digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
        assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        named = "attachment; filename*=UTF-8''numbers%20%C3%A9.txt"
        assert answer.headers["Content-Disposition"] == named
    assert api.client.get(path).content == CONTENT
    assert api.client.head(path).content == b""


def test_a_plain_name_is_also_said_plainly(api: Api) -> None:
    path = f"/v1/files/{api.upload(CONTENT, 'numbers-7.txt')['id']}/content"

    named = "attachment; filename=\"numbers-7.txt\"; filename*=UTF-8''numbers-7.txt"
    assert api.client.get(path).headers["Content-Disposition"] == named


@pytest.mark.parametrize(
    ("asked", "given", "where"),
    [
        ("bytes=0-0", b"0", "0-0"),
        ("bytes=2-4", b"234", "2-4"),
        ("bytes=7-", b"789", "7-9"),
        ("bytes=7-99", b"789", "7-9"),
        ("bytes=-3", b"789", "7-9"),
        ("bytes=-99", CONTENT, "0-9"),
        ("bytes=0-9", CONTENT, "0-9"),
    ],
)
def test_one_range_is_given(api: Api, path: str, asked: str, given: bytes, where: str) -> None:
    answer = api.client.get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == given
    assert answer.headers["Content-Range"] == f"bytes {where}/10"
    assert answer.headers["Content-Length"] == str(len(given))
    assert answer.headers["ETag"] == ETAG


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0", f"bytes={'9' * 18}-"])
def test_a_range_beyond_the_end_is_416(api: Api, path: str, asked: str) -> None:
    answer = api.client.get(path, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */10"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "asked", ["bytes=", "bytes=-", "bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "x"]
)
def test_a_range_that_is_not_one_range_is_ignored(api: Api, path: str, asked: str) -> None:
    answer = api.client.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize(
    ("condition", "status"),
    [(ETAG, 206), (f"W/{ETAG}", 200), ('"other"', 200), ("Tue, 24 Nov 2026 00:00:00 GMT", 200)],
)
def test_a_range_is_given_only_of_the_same_bytes(
    api: Api, path: str, condition: str, status: int
) -> None:
    headers = {"Range": "bytes=0-1", "If-Range": condition}
    assert api.client.get(path, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("condition", "status"),
    [(ETAG, 304), (f'"other", W/{ETAG}', 304), ("*", 304), ('"other"', 200), (SHA256, 200)],
)
def test_a_copy_that_is_the_same_is_not_sent_again(
    api: Api, path: str, condition: str, status: int
) -> None:
    headers = (
        {"If-None-Match": condition, "Range": "bytes=99-"}
        if status == 304
        else {"If-None-Match": condition}
    )
    for method in ("GET", "HEAD"):
        answer = api.client.request(method, path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["ETag"] == ETAG
        assert answer.content == (CONTENT if (status, method) == (200, "GET") else b"")


def test_a_blob_larger_than_one_piece_is_whole(api: Api) -> None:
    content = bytes(range(251)) * 20_000
    path = f"/v1/files/{api.upload(content)['id']}/content"
    assert api.client.get(path).content == content
    across = {"Range": "bytes=4194300-4194310"}
    assert api.client.get(path, headers=across).content == content[4194300:4194311]


def test_a_blob_that_is_gone_does_not_begin_as_a_success(api: Api, path: str) -> None:
    for blob in (api.folder / "blobs").rglob(SHA256):
        blob.unlink()
    answer = api.client.get(path)
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.slow
def test_a_blob_in_s3_is_a_redirect_that_needs_no_key(tmp_path: Path, s3_url: str) -> None:
    app = create_app(settings(tmp_path, storage_url=s3_url))
    Table.metadata.create_all(app.state.parts.database.engine)
    with TestClient(app, follow_redirects=False) as client:
        api = Api(app, client, tmp_path)
        client.headers.update(api.key())
        path = f"/v1/files/{api.upload(CONTENT)['id']}/content"
        assert client.head(path).headers["ETag"] == ETAG
        same = client.get(path, headers={"If-None-Match": ETAG})
        assert same.status_code == 304
        answer = client.get(path)
        assert answer.status_code == 307
        ranged = urllib.request.Request(answer.headers["Location"], headers={"Range": "bytes=2-4"})  # noqa: S310 (ours, on loopback)
        with urllib.request.urlopen(ranged) as part:  # noqa: S310 (ours, on loopback)
            assert part.read() == b"234"
