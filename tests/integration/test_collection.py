"""Blobs that nothing names are removed in time, and those that something names never."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from obstore.exceptions import BaseError
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from app.db.blobs import UnnamedBlob, note_released
from app.db.models import File, JobFile, Knowledge, KnowledgeFile, Model
from app.db.registry import ModelFile
from app.db.session import Database, database_now
from app.db.table import Table
from app.reconciler import collect
from app.services import collection, deletion
from app.services.collection import BlobCollector
from app.storage import NUM_PARTS, Storage
from tests.jobs import PROJECT_ID, queued

Put = Callable[[str], str]


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        return Storage(str(request.getfixturevalue("s3_url")))
    return Storage(str(tmp_path / "blobs"))


@pytest.fixture
def put(storage: Storage, tmp_path: Path) -> Put:
    def put(content: str) -> str:
        (tmp_path / "content").write_text(content)
        return storage.put(tmp_path / "content")

    return put


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every blob be old enough, whatever the storage's clock says."""
    monkeypatch.setattr(collection, "KEPT_FOR", timedelta(days=-1))


def sweep(database: Database, storage: Storage) -> None:
    collector = BlobCollector(database, storage)
    for _ in range(NUM_PARTS):
        collector.tick()


def name(database: Database, *rows: Table) -> None:
    with database.write() as session:
        for row in rows:
            session.add(row)
            session.flush()


def file_of(database: Database, sha256: str) -> File:
    with database.read() as session:
        now = database_now(session)
    return File(
        id=f"file-{sha256[:8]}",
        project_id=PROJECT_ID,
        filename="a",
        purpose="dataset",
        bytes=1,
        sha256=sha256,
        media_type="text/plain",
        created_at=now,
    )


def knowledge_of(database: Database, sha256: str) -> Iterator[Table]:
    with database.read() as session:
        now = database_now(session)
    yield Knowledge(
        id="knowledge-1",
        project_id=PROJECT_ID,
        request_digest=sha256,
        fingerprint={},
        task="classification",
        output_names=[],
        storage="float16",
        layers={},
        views=1,
        num_train=1,
        num_held_out=0,
        bytes=1,
        created_at=now,
    )
    yield KnowledgeFile(knowledge_id="knowledge-1", path="a", bytes=1, sha256=sha256)


def model_of(database: Database, sha256: str) -> Iterator[Table]:
    with database.read() as session:
        now = database_now(session)
    yield Model(
        id="model-1",
        project_id=PROJECT_ID,
        role="teacher",
        architecture={},
        signature={"task": "classification"},
        num_parameters=1,
        created_at=now,
    )
    yield ModelFile(model_id="model-1", path="a", bytes=1, sha256=sha256, media_type="text/plain")


@pytest.mark.usefixtures("aged")
def test_only_blobs_that_no_row_names_are_removed(
    database: Database, storage: Storage, put: Put
) -> None:
    kept = [put(f"kept {number}") for number in range(4)]
    stray = [put(f"stray {number}") for number in range(3)]
    job_file = JobFile(
        job_id=queued(database), path="a", bytes=1, sha256=kept[1], media_type="text/plain"
    )
    name(database, file_of(database, kept[0]), job_file, *model_of(database, kept[3]))
    name(database, *knowledge_of(database, kept[2]))

    sweep(database, storage)

    assert [digest for digest in kept + stray if storage.find(digest)] == kept

    with database.write() as session:
        session.execute(delete(KnowledgeFile))
    deletion.delete_model(database, PROJECT_ID, "model-1")
    sweep(database, storage)
    assert [digest for digest in kept if storage.find(digest)] == kept[:2]


def test_a_blob_is_kept_for_a_day_whether_or_not_a_row_names_it(
    database: Database, storage: Storage, put: Put
) -> None:
    digest = put("in between its writing and its row")

    sweep(database, storage)

    assert storage.find(digest) is not None


def test_a_blob_that_is_written_again_between_the_look_and_the_act_is_kept(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "KEPT_FOR", timedelta(seconds=30))
    storage = Storage(str(tmp_path / "blobs"))
    (tmp_path / "content").write_text("same bytes")
    digest = storage.put(tmp_path / "content")
    _make_older(tmp_path / "blobs", hours=13)

    look = storage.list_part

    def listed_and_then_put(part: int) -> Iterator[list[object]]:
        for blobs in look(part):
            storage.put(tmp_path / "content")
            yield list(blobs)

    monkeypatch.setattr(storage, "list_part", listed_and_then_put)
    sweep(sqlite_database, storage)

    assert storage.find(digest) is not None


def test_what_a_kill_has_left_half_written_goes_after_a_day(
    sqlite_database: Database, tmp_path: Path
) -> None:
    storage = Storage(str(tmp_path / "blobs"))
    (tmp_path / "content").write_text("whole")
    whole = storage.put(tmp_path / "content")
    # As obstore names it until it is whole.
    left = tmp_path / "blobs" / "blobs" / whole[:2] / f"{whole}#1"
    left.write_text("who")
    name(sqlite_database, file_of(sqlite_database, whole))

    sweep(sqlite_database, storage)
    assert left.exists()
    _make_older(tmp_path / "blobs", hours=25)
    sweep(sqlite_database, storage)
    assert not left.exists()
    assert storage.find(whole) is not None


def test_what_is_noted_as_unnamed_is_forgotten_once_it_is_named_or_gone(
    database: Database, storage: Storage, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, unnamed = put("named"), put("unnamed")
    lost = hashlib.sha256(b"never came").hexdigest()
    job_id = queued(database)
    name(database, file_of(database, named))
    for number, sha256 in enumerate([named, unnamed, unnamed, lost]):
        row = JobFile(job_id=job_id, path=str(number), bytes=1, sha256=sha256, media_type="a/b")
        name(database, row)
    with database.write() as session:
        blobs = select(JobFile.sha256, JobFile.bytes)
        for _ in range(2):
            note_released(session, PROJECT_ID, blobs)
        session.execute(delete(JobFile))

    def noted() -> set[str]:
        with database.read() as session:
            return set(session.scalars(select(UnnamedBlob.sha256)))

    assert noted() == {named, unnamed, lost}
    sweep(database, storage)
    assert noted() == {unnamed, lost}
    monkeypatch.setattr(collection, "KEPT_FOR", timedelta(days=-1))
    sweep(database, storage)
    assert noted() == set()
    assert storage.find(named) is not None


@pytest.mark.usefixtures("aged")
def test_a_sweep_is_followed_by_a_rest(sqlite_database: Database, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "blobs"))
    collector = BlobCollector(sqlite_database, storage)
    for _ in range(NUM_PARTS):
        collector.tick()
    (tmp_path / "content").write_text("late")
    digest = storage.put(tmp_path / "content")

    for _ in range(NUM_PARTS):
        collector.tick()

    assert storage.find(digest) is not None


@pytest.mark.parametrize(
    "error",
    [OperationalError("SELECT 1", None, ConnectionError()), BaseError("no answer"), OSError("no")],
    ids=lambda error: type(error).__name__,
)
def test_what_is_away_is_only_noted(
    sqlite_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def away(_part: int) -> NoReturn:
        raise error

    storage = Storage(str(tmp_path / "blobs"))
    monkeypatch.setattr(storage, "list_part", away)

    collect(BlobCollector(sqlite_database, storage))


def _make_older(folder: Path, *, hours: int) -> None:
    moment = time.time() - hours * 3600
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (moment, moment))
