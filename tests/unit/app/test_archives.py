"""Models as zips over HTTP."""

import hashlib
import io
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from tests.unit.app.conftest import Api, settings

FILES = {
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 40_000,
    "onnx/model.onnx": b"",
    "labels é.txt": "ключ".encode(),
}


@pytest.fixture
def path(api: Api) -> str:
    api.post_job()
    outputs = {f"student/{name}": content for name, content in FILES.items()}
    return f"/v1/models/{api.succeed(api.claim(), {**outputs, 'report.json': b'{}'})}/download"


def test_a_zip_has_every_file_of_the_model_and_nothing_else(api: Api, path: str) -> None:
    answer = api.client.get(path)
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"].endswith(f"''{path.split('/')[3]}.zip")
    with ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert archive.namelist() == sorted(FILES)
        for entry in archive.infolist():
            assert (entry.compress_type, entry.external_attr >> 16) == (ZIP_STORED, 0o100644)
            # Of now, it would be the same for two seconds.
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)


def test_its_bytes_are_the_same_each_time_and_from_each_process(api: Api, path: str) -> None:
    first = api.client.get(path)
    with TestClient(create_app(settings(api.folder)), headers=dict(api.client.headers)) as other:
        again = other.get(path)
    assert hashlib.sha256(again.content).digest() == hashlib.sha256(first.content).digest()
    assert again.headers["ETag"] == first.headers["ETag"]


def test_who_has_it_is_not_sent_it_again(api: Api, path: str) -> None:
    head = api.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    again = api.client.get(path, headers={"If-None-Match": head.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_file_that_is_gone_is_no_success(api: Api, path: str) -> None:
    api.parts.storage.delete(hashlib.sha256(FILES["config.json"]).hexdigest())
    assert api.client.get(path).status_code >= 400


def test_a_damaged_file_ends_the_transfer_before_the_zip_is_whole(api: Api, path: str) -> None:
    digest = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    (blob,) = api.folder.rglob(digest)
    blob.write_bytes(b"\0" * len(FILES["model.safetensors"]))
    answer = api.client.get(path)
    with pytest.raises(BadZipFile):
        ZipFile(io.BytesIO(answer.content))
