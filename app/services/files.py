"""Uploaded files: hashed, their kind told from their own bytes, kept as blobs."""

import re
from typing import BinaryIO, Literal

from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.registry import File, Page
from app.db.blobs import forget_unnamed
from app.db.models import File as FileRow
from app.db.session import Database, database_now
from app.errors import InvalidPayload, Problem
from app.services import audit, quotas
from app.services.content import Content, chunks_of, inspect
from app.services.ownership import ends, find, owned
from app.storage import Storage

LONGEST_NAME = 255
PURPOSE = re.compile(r"[A-Za-z0-9_-]{1,64}")

Order = Literal["asc", "desc"]


def store_file(
    database: Database,
    storage: Storage,
    project_id: str,
    content: BinaryIO,
    filename: str,
    purpose: str,
) -> File:
    """Keep a file; its name is data and never becomes a path.

    Raises:
        InvalidPayload: The file is empty, or its name or purpose is odd.
        QuotaExceeded: The project would have more stored than it may.
    """
    problems = name_problems(filename, purpose, "/file")
    if problems:
        raise InvalidPayload(problems)
    found = inspect(chunks_of(content))
    if found.size == 0:
        raise InvalidPayload([Problem("/file", "empty_file", f"{filename!r} has no bytes")])
    # Counted before the bytes go to storage, which would else fill with what is then refused.
    with database.write() as session:
        quotas.reserve(session, project_id, found)
    storage.put_chunks(found.sha256, found.size, chunks_of(content))
    with database.write() as session:
        row = add_file(session, project_id, found, filename, purpose)
        audit.note(session, project_id, "file.create", row.id)
    return file_view(row)


def add_file(
    session: Session, project_id: str, content: Content, filename: str, purpose: str
) -> FileRow:
    """Add the row of a file whose bytes are stored.

    Raises:
        QuotaExceeded: The project would have more stored than it may.
    """
    quotas.require_room_to_store(session, project_id, content)
    row = FileRow(
        id=f"file-{uuid7()}",
        project_id=project_id,
        filename=filename,
        purpose=purpose,
        bytes=content.size,
        sha256=content.sha256,
        media_type=content.media_type,
        created_at=database_now(session),
    )
    session.add(row)
    session.flush()
    forget_unnamed(session, project_id, content.sha256)
    return row


def list_files(
    database: Database,
    project_id: str,
    purpose: str | None,
    order: Order,
    after: str | None,
    limit: int,
) -> Page[File]:
    query = owned(FileRow, project_id)
    if purpose is not None:
        query = query.where(FileRow.purpose == purpose)
    if after is not None:
        query = query.where(FileRow.id > after if order == "asc" else FileRow.id < after)
    ordered = query.order_by(FileRow.id if order == "asc" else FileRow.id.desc())
    with database.read() as session:
        rows = session.scalars(ordered.limit(limit + 1)).all()
    data = [file_view(row) for row in rows[:limit]]
    return Page[File](data=data, has_more=len(rows) > limit, **ends([file.id for file in data]))


def read_file(database: Database, project_id: str, file_id: str) -> File:
    with database.read() as session:
        return file_view(find(session, FileRow, project_id, file_id))


def name_problems(filename: str, purpose: str, name_pointer: str) -> list[Problem]:
    """Say what is odd in the name and the purpose of a file."""
    problems = []
    if not 0 < len(filename) <= LONGEST_NAME:
        message = f"the name has {len(filename)} characters; expected 1 to {LONGEST_NAME}"
        problems.append(Problem(name_pointer, "invalid_filename", message))
    elif not filename.isprintable() or filename in {".", ".."} or set(filename) & set("/\\"):
        message = f"given {filename!r}; expected a name without slashes or control characters"
        problems.append(Problem(name_pointer, "invalid_filename", message))
    if not PURPOSE.fullmatch(purpose):
        message = f"given {purpose[:80]!r}; expected 1 to 64 letters, digits, '-' or '_'"
        problems.append(Problem("/purpose", "invalid_purpose", message))
    return problems


def file_view(row: FileRow) -> File:
    return File(
        id=row.id,
        filename=row.filename,
        purpose=row.purpose,
        bytes=row.bytes,
        sha256=row.sha256,
        media_type=row.media_type,
        created_at=int(row.created_at.timestamp()),
    )
