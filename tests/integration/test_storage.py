"""Blobs in a folder and in S3, by the same rules."""

import hashlib
import urllib.request
from pathlib import Path

import pytest
from obstore.exceptions import BaseError

from app.storage import CHUNK_BYTES, Storage

CONTENT = bytes(range(256)) * (CHUNK_BYTES // 256) + b"the end"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Give an empty storage of each kind in turn."""
    if request.param == "s3":
        return Storage(str(request.getfixturevalue("s3_url")))
    return Storage(str(tmp_path / "blobs"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def test_a_stored_file_is_read_back_whole_and_in_part(
    storage: Storage, file: Path, tmp_path: Path
) -> None:
    assert storage.put(file) == storage.put(file) == DIGEST

    storage.fetch(DIGEST, len(CONTENT), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    start, end = CHUNK_BYTES - 3, CHUNK_BYTES + 4
    assert b"".join(storage.read(DIGEST, start, end)) == CONTENT[start:end]


def test_what_is_not_there_is_said(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.fetch("0" * 64, 10, tmp_path / "copy")


def test_storage_that_was_prepared_answers(storage: Storage) -> None:
    storage.prepare()
    storage.prepare()
    storage.ping()


def test_a_blob_that_was_cut_short_is_stored_again(tmp_path: Path, file: Path) -> None:
    storage = Storage(str(tmp_path / "blobs"))
    storage.put(file)
    (blob,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(CONTENT[:100])

    storage.put(file)

    assert blob.read_bytes() == CONTENT


def test_a_damaged_blob_is_noticed(tmp_path: Path, file: Path) -> None:
    storage = Storage(str(tmp_path / "blobs"))
    storage.put(file)
    (blob,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(b"X" + CONTENT[1:])

    with pytest.raises(ValueError, match="damaged"):
        storage.fetch(DIGEST, len(CONTENT), tmp_path / "copy")


def test_a_blob_in_s3_has_an_address_that_needs_no_key(s3_url: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    storage = Storage(s3_url)
    url = storage.presigned_url(storage.put(tmp_path / "small"))

    assert url is not None
    with urllib.request.urlopen(url) as answer:  # noqa: S310 (ours, on loopback)
        assert answer.read() == b"small"


def test_a_key_that_may_not_write_is_noticed_at_once(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises((BaseError, PermissionError)):
        Storage(s3_url).prepare()
