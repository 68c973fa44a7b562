"""Uploads that come in parts: announced, filled part by part, cancelled."""

from datetime import datetime, timedelta
from typing import BinaryIO

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.uploads import MOST_PARTS, NewUpload, UploadPart
from app.contracts.uploads import Upload as UploadView
from app.db.models import File
from app.db.session import Database, database_now
from app.db.uploads import Upload
from app.db.uploads import UploadPart as UploadPartRow
from app.errors import Conflict, InvalidPayload, NotFound, Problem
from app.services import audit, quotas
from app.services.content import Content, chunks_of, inspect
from app.services.files import file_view, name_problems
from app.services.ownership import find, find_to_change
from app.storage import Storage

EXPIRES_AFTER = timedelta(hours=24)


def create_upload(database: Database, project_id: str, new: NewUpload) -> UploadView:
    """Announce a file.

    Raises:
        InvalidPayload: Its name or purpose is odd.
        QuotaExceeded: It is more than the project may have in all.
    """
    problems = name_problems(new.filename, new.purpose, "/filename")
    if problems:
        raise InvalidPayload(problems)
    with database.write() as session:
        quotas.require_size(session, project_id, new.bytes)
        now = database_now(session)
        row = Upload(
            id=f"upload-{uuid7()}",
            project_id=project_id,
            filename=new.filename,
            purpose=new.purpose,
            bytes=new.bytes,
            status="pending",
            created_at=now,
            expires_at=now + EXPIRES_AFTER,
        )
        session.add(row)
        session.flush()
        audit.note(session, project_id, "upload.create", row.id)
        return upload_view(session, row)


def read_upload(database: Database, project_id: str, upload_id: str) -> UploadView:
    with database.read() as session:
        return upload_view(session, find(session, Upload, project_id, upload_id))


def add_part(
    database: Database, storage: Storage, project_id: str, upload_id: str, content: BinaryIO
) -> UploadPart:
    """Keep a part; the bytes of one that is there already are that one.

    Raises:
        Conflict: The upload has ended, or has all the bytes or parts that it may have.
        InvalidPayload: The part is empty.
        QuotaExceeded: The project would have more stored than it may.
    """
    found = inspect(chunks_of(content))
    if found.size == 0:
        raise InvalidPayload([Problem("/data", "empty_part", "the part has no bytes")])
    # Counted before the bytes go to storage, which would else fill with what is then refused.
    with database.write() as session:
        upload = find_to_change(session, Upload, project_id, upload_id)
        part = _announced(session, upload, found)
    if not part.arrived:
        storage.put_part(upload_id, found.sha256, found.size, chunks_of(content))
        try:
            part = _arrive(database, project_id, upload_id, part.id)
        except (Conflict, NotFound):
            # It may have come twice, and its row be gone: without one, its bytes would not count,
            # and without an upload they would never go.
            storage.delete_parts(upload_id)
            raise
    return _part_view(part)


def cancel_upload(
    database: Database, storage: Storage, project_id: str, upload_id: str
) -> UploadView:
    """Cancel an upload and remove its parts; one that is cancelled stays so.

    Raises:
        Conflict: It is completed or has expired.
    """
    with database.write() as session:
        upload = find_to_change(session, Upload, project_id, upload_id)
        if upload.status != "cancelled":
            require_pending(session, upload)
            upload.status = "cancelled"
            remove_parts(session, upload_id)
            audit.note(session, project_id, "upload.cancel", upload_id)
        view = upload_view(session, upload)
    storage.delete_parts(upload_id)
    return view


def require_pending(session: Session, upload: Upload) -> None:
    """Let only an upload go on that still may.

    Raises:
        Conflict: It has ended.
    """
    status = _status(upload, database_now(session))
    if status != "pending":
        raise Conflict(f"the upload is {status}; only a pending one takes parts; make a new one")


def parts_of(session: Session, upload_id: str) -> list[UploadPartRow]:
    """Read the parts that have arrived, in that order."""
    query = select(UploadPartRow).where(_arrived(upload_id))
    return list(session.scalars(query.order_by(UploadPartRow.created_at, UploadPartRow.id)))


def remove_parts(session: Session, upload_id: str) -> None:
    """Remove the parts that have arrived; one that still comes counts until it is forgotten."""
    session.execute(delete(UploadPartRow).where(_arrived(upload_id)))


def _arrive(database: Database, project_id: str, upload_id: str, part_id: str) -> UploadPartRow:
    """Note that a part is stored.

    Raises:
        Conflict: The upload has ended.
    """
    with database.write() as session:
        require_pending(session, find_to_change(session, Upload, project_id, upload_id))
        part = session.get_one(UploadPartRow, part_id)
        if not part.arrived:
            part.arrived, part.created_at = True, database_now(session)
            audit.note(session, project_id, "upload.part", upload_id)
        return part


def upload_view(session: Session, row: Upload) -> UploadView:
    file = session.get(File, row.file_id) if row.file_id else None
    return UploadView(
        id=row.id,
        filename=row.filename,
        purpose=row.purpose,
        bytes=row.bytes,
        status=_status(row, database_now(session)),
        created_at=int(row.created_at.timestamp()),
        expires_at=int(row.expires_at.timestamp()),
        parts=[_part_view(part) for part in parts_of(session, row.id)],
        file=file and file_view(file),
    )


def _announced(session: Session, upload: Upload, found: Content) -> UploadPartRow:
    """Return the part that these bytes are already, or add one where there is room for it."""
    require_pending(session, upload)
    of_upload = select(UploadPartRow).where(UploadPartRow.upload_id == upload.id)
    parts = session.scalars(of_upload).all()
    for part in parts:
        if part.sha256 == found.sha256:
            return part
    # Parts may be cut anew after a break, and so overlap with those before it.
    taken = sum(part.bytes for part in parts) + found.size
    if found.size > upload.bytes or taken > 2 * upload.bytes or len(parts) >= MOST_PARTS:
        raise Conflict(
            f"with this part of {found.size} bytes the upload would have {taken} bytes in "
            f"{len(parts) + 1} parts; it was announced with {upload.bytes} bytes, and takes at "
            f"most twice as many, in {MOST_PARTS} parts"
        )
    quotas.require_room_for_part(session, upload.project_id, found.size)
    part = UploadPartRow(
        id=f"part-{uuid7()}",
        upload_id=upload.id,
        bytes=found.size,
        sha256=found.sha256,
        created_at=database_now(session),
        arrived=False,
    )
    session.add(part)
    return part


def _arrived(upload_id: str) -> ColumnElement[bool]:
    return and_(UploadPartRow.upload_id == upload_id, UploadPartRow.arrived)


def _status(upload: Upload, now: datetime) -> str:
    is_late = upload.status == "pending" and upload.expires_at <= now
    return "expired" if is_late else upload.status


def _part_view(row: UploadPartRow) -> UploadPart:
    return UploadPart(
        id=row.id,
        upload_id=row.upload_id,
        bytes=row.bytes,
        sha256=row.sha256,
        created_at=int(row.created_at.timestamp()),
    )
