"""Uploads in parts on both databases, asked for the same thing several times at once."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.contracts.uploads import Completion, NewUpload
from app.db.models import File
from app.db.session import Database
from app.db.uploads import Upload, UploadPart
from app.services import deletion
from app.services.completion import UploadCollector, complete_upload
from app.services.uploads import add_part, cancel_upload, create_upload, read_upload
from app.storage import Storage
from tests.jobs import PROJECT_ID

CONTENT = b"a,label\n1,x\n2,y\n"
AT_ONCE = 8


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "blobs"))


@pytest.fixture
def upload_id(database: Database) -> str:
    new = NewUpload(filename="a.csv", bytes=len(CONTENT))
    return create_upload(database, PROJECT_ID, new).id


def test_a_part_that_comes_several_times_at_once_is_one(
    database: Database, storage: Storage, upload_id: str
) -> None:
    def send(_: int) -> str:
        return add_part(database, storage, PROJECT_ID, upload_id, io.BytesIO(CONTENT)).id

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ids = set(pool.map(send, range(AT_ONCE)))

    assert ids == {part.id for part in read_upload(database, PROJECT_ID, upload_id).parts}
    assert len(ids) == 1


def test_an_upload_that_is_completed_several_times_at_once_is_one_file(
    database: Database, storage: Storage, upload_id: str
) -> None:
    part = add_part(database, storage, PROJECT_ID, upload_id, io.BytesIO(CONTENT))
    completion = Completion(part_ids=[part.id], sha256=hashlib.sha256(CONTENT).hexdigest())

    def complete(_: int) -> str | None:
        done = complete_upload(database, storage, PROJECT_ID, upload_id, completion)
        return done.file.id if done.file else None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = set(pool.map(complete, range(AT_ONCE)))

    assert len(made) == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(File)) == 1
        assert session.scalar(select(func.count()).select_from(UploadPart)) == 0
    again = complete_upload(database, storage, PROJECT_ID, upload_id, completion)
    assert again.file is not None
    assert {again.file.id} == made


def test_a_file_that_came_in_parts_is_deleted_and_its_upload_forgotten(
    database: Database, storage: Storage, upload_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = add_part(database, storage, PROJECT_ID, upload_id, io.BytesIO(CONTENT))
    done = complete_upload(database, storage, PROJECT_ID, upload_id, Completion(part_ids=[part.id]))
    assert done.file is not None
    deletion.delete_file(database, PROJECT_ID, done.file.id)
    assert read_upload(database, PROJECT_ID, upload_id).file is None

    monkeypatch.setattr("app.services.completion.KEPT_FOR", -timedelta(days=2))
    UploadCollector(database, storage).tick()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 0


def test_an_upload_that_is_cancelled_leaves_nothing_but_its_state(
    database: Database, storage: Storage, upload_id: str, tmp_path: Path
) -> None:
    add_part(database, storage, PROJECT_ID, upload_id, io.BytesIO(CONTENT))
    assert cancel_upload(database, storage, PROJECT_ID, upload_id).status == "cancelled"
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
