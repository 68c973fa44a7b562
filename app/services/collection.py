"""Removes blobs that nothing names any more: what deleted jobs and knowledge have left."""

import time
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import select, union
from sqlalchemy.orm import Session
from structlog import get_logger

from app.db.checkpoints import CheckpointFile
from app.db.models import File, JobFile, KnowledgeFile
from app.db.registry import ModelFile
from app.db.session import Database
from app.storage import NUM_PARTS, Storage, StoredBlob

log = get_logger(__name__)

EVERY_SECONDS = 3600.0
KEPT_FOR = timedelta(hours=24)
"""A blob is written before the row that names it is; twice ``STALE_AFTER``, so that whoever relies
on a blob has written it again long before."""


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
        self._remove_unfinished()
        self._part = (self._part + 1) % NUM_PARTS
        if self._part == 0:
            self._rests_until = time.monotonic() + EVERY_SECONDS

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
            named = _named(session, [blob.sha256 for blob in old])
        for blob in old:
            if blob.sha256 in named:
                continue
            # Asked once more: it may have been written again since it was listed.
            now = self._storage.find(blob.sha256)
            if now is not None and now.age > KEPT_FOR:
                self._storage.delete(blob.sha256)
                log.info("blob_collected", sha256=blob.sha256, bytes=blob.bytes)


def _named(session: Session, digests: list[str]) -> set[str]:
    tables = (File, JobFile, ModelFile, KnowledgeFile, CheckpointFile)
    names = [select(table.sha256).where(table.sha256.in_(digests)) for table in tables]
    return set(session.scalars(union(*names)))
