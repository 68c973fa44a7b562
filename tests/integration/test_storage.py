"""Blobs in a folder and in S3, by the same rules."""

import hashlib
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.exceptions import BaseError

from app.storage import CHUNK_BYTES, PIECE_BYTES, Storage

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


def test_a_blob_is_found_listed_in_its_part_and_deleted(storage: Storage, file: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    assert storage.find(DIGEST) is None
    storage.put(file)

    found = storage.find(DIGEST)
    assert found is not None
    assert (found.sha256, found.bytes) == (DIGEST, len(CONTENT))
    assert found.written_at > before
    part = int(DIGEST[:2], 16)
    assert found in [blob for blobs in storage.list_part(part) for blob in blobs]
    assert found not in [blob for blobs in storage.list_part(part ^ 1) for blob in blobs]

    storage.delete(DIGEST)
    storage.delete(DIGEST)
    assert storage.find(DIGEST) is None


@pytest.mark.parametrize("is_stale", [False, True])
def test_a_blob_is_written_again_only_when_it_is_old(
    storage: Storage, file: Path, monkeypatch: pytest.MonkeyPatch, *, is_stale: bool
) -> None:
    storage.put(file)
    written = storage.find(DIGEST)
    time.sleep(1.1)  # S3 tells whole seconds
    if is_stale:
        monkeypatch.setattr("app.storage.STALE_AFTER", timedelta(seconds=1))

    storage.put(file)

    again = storage.find(DIGEST)
    assert written is not None
    assert again is not None
    assert (again.written_at > written.written_at) == is_stale


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


def test_a_damaged_blob_is_noticed_and_can_be_stored_anew(
    storage: Storage, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"X" + CONTENT[1:])
    with monkeypatch.context() as patched:
        patched.setattr("app.storage.hashlib.file_digest", lambda *_: hashlib.sha256(CONTENT))
        assert storage.put(wrong) == DIGEST

    with pytest.raises(ValueError, match="damaged"):
        storage.fetch(DIGEST, len(CONTENT), tmp_path / "copy")
    storage.put(file)
    storage.fetch(DIGEST, len(CONTENT), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT
    mended = storage.find(DIGEST)
    time.sleep(1.1)  # S3 tells whole seconds
    storage.put(file)
    assert storage.find(DIGEST) == mended


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


def test_parts_are_kept_apart_and_become_a_blob_without_being_in_memory(
    storage: Storage, tmp_path: Path
) -> None:
    content = CONTENT * (PIECE_BYTES // len(CONTENT) + 2)
    digest = hashlib.sha256(content).hexdigest()
    half = len(content) // 2 + 1
    for name, part in (("one", content[:half]), ("two", content[half:])):
        storage.put_part("upload-1", name, len(part), iter([part]))
    storage.put_part("upload-10", "one", 1, iter([b"x"]))

    def chunks() -> Iterator[bytes]:
        yield from storage.read_part("upload-1", "one", half)
        yield from storage.read_part("upload-1", "two", len(content) - half)

    with pytest.raises(ValueError, match=digest):
        storage.put_chunks("0" * 64, len(content), chunks())
    assert storage.find("0" * 64) is None
    storage.put_chunks(digest, len(content), chunks())
    assert b"".join(storage.read(digest, 0, len(content))) == content

    folder = tmp_path / "blobs" / "uploads" / "upload-1"
    if folder.exists():
        # What a kill in the middle of a part has left.
        (folder / "three#1").write_text("thr")
    storage.delete_parts("upload-1")
    storage.delete_parts("upload-1")
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        next(storage.read_part("upload-1", "one", half))
    assert next(storage.read_part("upload-10", "one", 1)) == b"x"


def test_a_storage_that_is_silent_is_given_up_in_time(
    silent_s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.QUICK_SECONDS", 0.1)
    monkeypatch.setattr("app.storage.PIECE_SECONDS", 0.2)
    storage = Storage(silent_s3_url, patience_seconds=0.3)
    began = time.monotonic()
    for ask in (
        storage.ping,
        lambda: storage.find(DIGEST),
        lambda: storage.delete(DIGEST),
        lambda: storage.delete_parts("upload-1"),
        lambda: next(storage.list_part(0)),
        lambda: next(storage.read(DIGEST, 0, 1)),
        lambda: storage.put_part("upload-1", DIGEST, 1, iter([b"x"])),
    ):
        with pytest.raises(BaseError):
            ask()
    assert time.monotonic() - began < 20


def test_a_piece_of_a_blob_has_more_time_than_what_moves_none(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.QUICK_SECONDS", 0.000_001)
    storage = Storage(s3_url, patience_seconds=0)
    with pytest.raises(BaseError):
        storage.ping()
    storage.put_part("upload-1", DIGEST, len(CONTENT), iter([CONTENT]))
    assert b"".join(storage.read_part("upload-1", DIGEST, len(CONTENT))) == CONTENT
