"""Uploaded files: hashed, their kind told from their own bytes, kept as blobs."""

import codecs
import hashlib
import re
import tempfile
from pathlib import Path
from typing import BinaryIO

from uuid_utils import uuid7

from app.contracts.registry import File, Page
from app.db.models import File as FileRow
from app.db.session import Database, database_now
from app.errors import InvalidPayload, Problem
from app.services import audit, quotas
from app.services.ownership import ends, find, newest, owned
from app.storage import Storage

CHUNK_BYTES = 1024 * 1024
LONGEST_NAME = 255
PURPOSE = re.compile(r"[A-Za-z0-9_-]{1,64}")

ZIP, GZIP, TAR = "application/zip", "application/gzip", "application/x-tar"
TEXT, UNKNOWN = "text/plain", "application/octet-stream"
PARQUET = "application/vnd.apache.parquet"

_MAGIC = [
    (0, b"PK\x03\x04", ZIP),
    (0, b"\x1f\x8b", GZIP),
    (257, b"ustar", TAR),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"PAR1", PARQUET),
    (0, b"%PDF-", "application/pdf"),
]
"""Offset, bytes that are always there, and what they tell."""


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
    problems = _problems(filename, purpose)
    if problems:
        raise InvalidPayload(problems)
    with tempfile.TemporaryDirectory(prefix="stillhouse-upload-") as folder:
        path = Path(folder) / "content"
        size, media_type = _receive(content, path)
        if size == 0:
            raise InvalidPayload([Problem("/file", "empty_file", f"{filename!r} has no bytes")])
        _require_room(database, project_id, path, size)
        sha256 = storage.put(path)
    with database.write() as session:
        quotas.require_room_to_store(session, project_id, size, sha256)
        row = FileRow(
            id=f"file-{uuid7()}",
            project_id=project_id,
            filename=filename,
            purpose=purpose,
            bytes=size,
            sha256=sha256,
            media_type=media_type,
            created_at=database_now(session),
        )
        session.add(row)
        audit.note(session, project_id, "file.create", row.id)
    return _view(row)


def list_files(database: Database, project_id: str, after: str | None, limit: int) -> Page[File]:
    with database.read() as session:
        query = owned(FileRow, project_id)
        rows, has_more = newest(session, query, FileRow, after, limit)
    data = [_view(row) for row in rows]
    return Page[File](data=data, has_more=has_more, **ends([file.id for file in data]))


def read_file(database: Database, project_id: str, file_id: str) -> File:
    with database.read() as session:
        return _view(find(session, FileRow, project_id, file_id))


def _problems(filename: str, purpose: str) -> list[Problem]:
    problems = []
    if not 0 < len(filename) <= LONGEST_NAME:
        message = f"the name has {len(filename)} characters; expected 1 to {LONGEST_NAME}"
        problems.append(Problem("/file", "invalid_filename", message))
    elif not filename.isprintable() or filename in {".", ".."} or set(filename) & set("/\\"):
        message = f"given {filename!r}; expected a name without slashes or control characters"
        problems.append(Problem("/file", "invalid_filename", message))
    if not PURPOSE.fullmatch(purpose):
        message = f"given {purpose[:80]!r}; expected 1 to 64 letters, digits, '-' or '_'"
        problems.append(Problem("/purpose", "invalid_purpose", message))
    return problems


def _require_room(database: Database, project_id: str, path: Path, size: int) -> None:
    """Ask before the bytes go to storage, which would else fill with what is then refused."""
    with database.read() as session:
        if not quotas.limits_storage(session, project_id):
            return
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with database.read() as session:
        quotas.require_room_to_store(session, project_id, size, sha256)


def _receive(content: BinaryIO, path: Path) -> tuple[int, str]:
    """Write all of ``content`` to ``path``; return its size and what its bytes say it is."""
    size, head = 0, b""
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    with path.open("wb") as file:
        while chunk := content.read(CHUNK_BYTES):
            file.write(chunk)
            size += len(chunk)
            head = head or chunk
            if decoder and not _is_text(decoder, chunk, final=False):
                decoder = None
    is_text = decoder is not None and _is_text(decoder, b"", final=True)
    return size, _media_type(head, is_text=is_text)


def _is_text(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool) -> bool:
    if b"\0" in chunk:
        return False
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _media_type(head: bytes, *, is_text: bool) -> str:
    for offset, magic, media_type in _MAGIC:
        if head[offset:].startswith(magic):
            return media_type
    return TEXT if is_text else UNKNOWN


def _view(row: FileRow) -> File:
    return File(
        id=row.id,
        filename=row.filename,
        purpose=row.purpose,
        bytes=row.bytes,
        sha256=row.sha256,
        media_type=row.media_type,
        created_at=row.created_at,
    )
