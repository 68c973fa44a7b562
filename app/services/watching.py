"""Waiting for jobs to change: one poller a process, however many clients wait."""

import asyncio
from collections.abc import Iterable

from sqlalchemy import select
from structlog import get_logger

from app.db.models import Job
from app.db.session import AWAY, Database

log = get_logger(__name__)

POLL_SECONDS = 0.25
MOST_IDS = 500
"""In one query; SQLite takes no list without end."""


class Watcher:
    """Tells clients of a job's new version; one that waits costs a future, no thread.

    Only for one event loop.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._poller: asyncio.Task[None] | None = None
        self.is_closed = False
        """Whether the process is to end."""

    async def wait(self, job_id: str, version: int, seconds: float | None = None) -> bool:
        """Wait until a job has another version than this, or is gone.

        Returns whether that is so: False where ``seconds`` are over or the process is to end.
        """
        if self.is_closed:
            return False
        waiter = (version, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(job_id, []).append(waiter)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            await asyncio.wait([waiter[1]], timeout=seconds)
        finally:
            self._forget(job_id, waiter)
        return waiter[1].done() and not self.is_closed

    def close(self) -> None:
        """Let nobody wait any more; in the event loop."""
        self.is_closed = True
        for waiters in self._waiting.values():
            _wake(future for _, future in waiters)

    async def _poll(self) -> None:
        while self._waiting and not self.is_closed:
            asked = list(self._waiting)
            try:
                versions = await asyncio.to_thread(self._read, asked)
            except AWAY as error:
                log.warning("database_away", reason=type(error).__name__)
            else:
                self._tell(asked, versions)
            await asyncio.sleep(POLL_SECONDS)

    def _tell(self, asked: list[str], versions: dict[str, int]) -> None:
        for job_id in asked:
            version = versions.get(job_id)
            waiters = self._waiting.get(job_id, [])
            # One may have begun to wait, with a newer version, while an older was being read.
            _wake(future for known, future in waiters if version is None or version > known)

    def _read(self, job_ids: list[str]) -> dict[str, int]:
        versions: dict[str, int] = {}
        with self._database.read() as session:
            for start in range(0, len(job_ids), MOST_IDS):
                some = job_ids[start : start + MOST_IDS]
                rows = session.execute(select(Job.id, Job.version).where(Job.id.in_(some)))
                versions.update((job_id, version) for job_id, version in rows)
        return versions

    def _forget(self, job_id: str, waiter: tuple[int, asyncio.Future[None]]) -> None:
        waiters = self._waiting[job_id]
        waiters.remove(waiter)
        if not waiters:
            del self._waiting[job_id]


def _wake(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
