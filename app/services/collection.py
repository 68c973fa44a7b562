"""Removes blobs that nothing names any more: what was deleted, and what was never named."""

import time
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import Session
from structlog import get_logger

from app.db.blobs import NAMING, UnnamedBlob, named_of
from app.db.session import Database, database_now
from app.storage import NUM_PARTS, Storage, StoredBlob

log = get_logger(__name__)

EVERY_SECONDS = 3600.0
KEPT_FOR = timedelta(hours=24)
"""A blob is written before the row that names it is; twice ``STALE_AFTER``, so that whoever relies
on a blob has written it again long before."""
MOST_ASKED = 10_000
"""Notes of one part that a tick looks at; what is left waits for the next sweep."""


class BlobCollector:
    """Looks through all blobs once an hour, at each tick through one part of them."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage
        self._part = 0
        self._rests_until = 0.0

    def tick(self) -> None:
        """Remove what is due of the next part; any number of collectors may."""
        if time.monotonic() < self._rests_until:
            return
        for blobs in self._storage.list_part(self._part):
            self._collect([blob for blob in blobs if blob.age > KEPT_FOR])
        self._forget()
        self._remove_unfinished()
        self._part = (self._part + 1) % NUM_PARTS
        if self._part == 0:
            self._rests_until = time.monotonic() + EVERY_SECONDS

    def _forget(self) -> None:
        """Let blobs of this part count as unnamed no longer that are named by now, or are gone."""
        prefix = f"{self._part:02x}"
        of_part = UnnamedBlob.sha256.between(prefix, f"{prefix}g")
        names = [exists().where(table.sha256 == UnnamedBlob.sha256) for table in NAMING]
        with self._database.write() as session:
            now = database_now(session)
            _forget(session, of_part, or_(*names), UnnamedBlob.noted_at < now)
            # Younger ones may only not have come yet.
            is_old = UnnamedBlob.noted_at < now - KEPT_FOR
            noted = select(UnnamedBlob.sha256).where(of_part, is_old)
            old = session.scalars(noted.limit(MOST_ASKED)).all()
        gone = [sha256 for sha256 in old if self._storage.find(sha256) is None]
        with self._database.write() as session:
            _forget(session, UnnamedBlob.sha256.in_(gone), is_old)

    def _remove_unfinished(self) -> None:
        """Remove what a kill in the middle of a write has left of this part."""
        for path in self._storage.list_unfinished(self._part):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > KEPT_FOR.total_seconds():
                    path.unlink()
                    log.info("unfinished_blob_removed", file=path.name)

    def _collect(self, old: list[StoredBlob]) -> None:
        if not old:
            return
        with self._database.read() as session:
            asked_at = database_now(session)
            named = named_of(session, [blob.sha256 for blob in old])
        removed = []
        for blob in old:
            if blob.sha256 in named:
                continue
            # Asked once more: it may have been written again since it was listed.
            now = self._storage.find(blob.sha256)
            if now is not None and now.age > KEPT_FOR:
                self._storage.delete(blob.sha256)
                removed.append(blob.sha256)
                log.info("blob_collected", sha256=blob.sha256, bytes=blob.bytes)
        with self._database.write() as session:
            # Not what somebody has noted since: it is about to come again.
            _forget(session, UnnamedBlob.sha256.in_(removed), UnnamedBlob.noted_at < asked_at)


def _forget(session: Session, *which: ColumnElement[bool]) -> None:
    session.execute(
        delete(UnnamedBlob).where(*which), execution_options={"synchronize_session": False}
    )
