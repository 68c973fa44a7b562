"""Makes one file of an upload's parts, once it is what its client meant; forgets old uploads."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import delete, select
from structlog import get_logger

from app.contracts.uploads import Completion
from app.contracts.uploads import Upload as UploadView
from app.db.session import Database, database_now
from app.db.uploads import Upload, UploadPart
from app.errors import InvalidPayload, Problem, Unavailable
from app.room import Room
from app.services import audit, quotas
from app.services.content import Content, inspect
from app.services.files import add_file
from app.services.ownership import find, find_to_change
from app.services.uploads import parts_of, remove_parts, require_pending, upload_view
from app.storage import Storage

log = get_logger(__name__)

KEPT_FOR = timedelta(hours=1)
"""How long an upload is known after it has expired: one may just be being completed."""
_ROOM = Room("uploads are completed", places=4, waiting=4, patience_seconds=20)
EVERY_SECONDS = 60.0
MOST_AT_ONCE = 100


def complete_upload(
    database: Database,
    storage: Storage,
    project_id: str,
    upload_id: str,
    completion: Completion,
) -> UploadView:
    """Make the file; asked for the same again, answer the same.

    Raises:
        Conflict: The upload has ended otherwise.
        InvalidPayload: The parts are not there, or not together what was announced.
        QuotaExceeded: The project would have more stored than it may.
        Unavailable: As many uploads are being completed as may be at once.
    """
    with database.read() as session:
        # Before the upload: when another completes it meanwhile, that is seen of the upload.
        arrived = parts_of(session, upload_id)
        upload = find(session, Upload, project_id, upload_id)
        if _is_done(upload, completion):
            return upload_view(session, upload)
        require_pending(session, upload)
    parts = _named_parts(upload, arrived, completion)
    try:
        with _ROOM.entered():
            content = _put_together(database, storage, project_id, parts, completion)
    except FileNotFoundError:
        return _ended(database, project_id, upload_id, completion)
    with database.write() as session:
        upload = find_to_change(session, Upload, project_id, upload_id)
        if not _is_done(upload, completion):
            require_pending(session, upload)
            remove_parts(session, upload_id)
            file = add_file(session, project_id, content, upload.filename, upload.purpose)
            upload.status, upload.file_id = "completed", file.id
            upload.part_ids = completion.part_ids
            audit.note(session, project_id, "upload.complete", upload_id)
        view = upload_view(session, upload)
    storage.delete_parts(upload_id)
    return view


class UploadCollector:
    """Forgets uploads some time after they have expired, with the parts that are left of them."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage
        self._rests_until = 0.0

    def tick(self) -> None:
        """Remove what is due; any number of collectors may."""
        if time.monotonic() < self._rests_until:
            return
        self._rests_until = time.monotonic() + EVERY_SECONDS
        with self._database.read() as session:
            due = Upload.expires_at < database_now(session) - KEPT_FOR
            old = session.scalars(select(Upload.id).where(due).limit(MOST_AT_ONCE)).all()
        if len(old) == MOST_AT_ONCE:
            self._rests_until = 0.0
        for upload_id in old:
            # Bytes first: whoever is interrupted here begins again.
            self._storage.delete_parts(upload_id)
            with self._database.write() as session:
                session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))
                session.execute(delete(Upload).where(Upload.id == upload_id))
            log.info("upload_forgotten", upload_id=upload_id)


def _put_together(
    database: Database,
    storage: Storage,
    project_id: str,
    parts: list[UploadPart],
    completion: Completion,
) -> Content:
    content = inspect(_chunks(storage, parts), with_md5=completion.md5 is not None)
    _check(content, completion)
    # However often a part is named: the file is counted in full, in the place of its parts.
    sizes = {part.id: part.bytes for part in parts}
    with database.write() as session:
        quotas.reserve(session, project_id, content, sum(sizes.values()))
    storage.put_chunks(content.sha256, content.size, _chunks(storage, parts))
    return content


def _is_done(upload: Upload, completion: Completion) -> bool:
    return upload.status == "completed" and upload.part_ids == completion.part_ids


def _ended(
    database: Database, project_id: str, upload_id: str, completion: Completion
) -> UploadView:
    """Answer where the parts went while they were read: another has completed or cancelled it."""
    with database.read() as session:
        upload = find(session, Upload, project_id, upload_id)
        if _is_done(upload, completion):
            return upload_view(session, upload)
        require_pending(session, upload)
    raise Unavailable("parts of the upload are gone from the storage; try again soon")


def _named_parts(
    upload: Upload, parts: Sequence[UploadPart], completion: Completion
) -> list[UploadPart]:
    arrived = {part.id: part for part in parts}
    unknown = [
        Problem(
            f"/part_ids/{number}",
            "unknown_part",
            f"given {part_id!r}; expected the id of one of the {len(arrived)} parts that have "
            "arrived; GET the upload to see them",
        )
        for number, part_id in enumerate(completion.part_ids)
        if part_id not in arrived
    ]
    if unknown:
        raise InvalidPayload(unknown)
    named = [arrived[part_id] for part_id in completion.part_ids]
    size = sum(part.bytes for part in named)
    if size != upload.bytes:
        message = f"given parts of {size} bytes together; expected {upload.bytes}, as announced"
        raise InvalidPayload([Problem("/part_ids", "size_differs", message)])
    return named


def _chunks(storage: Storage, parts: list[UploadPart]) -> Iterator[bytes]:
    for part in parts:
        yield from storage.read_part(part.upload_id, part.sha256, part.bytes)


def _check(content: Content, completion: Completion) -> None:
    for name, found in (("sha256", content.sha256), ("md5", content.md5)):
        given = getattr(completion, name)
        if given is not None and given != found:
            message = (
                f"given {given}; the parts together have {found}: send again those that differ"
            )
            raise InvalidPayload([Problem(f"/{name}", "digest_differs", message)])
