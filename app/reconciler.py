"""What time must do: take back lost jobs, ring for waiting ones, collect what nobody needs.

Any number may run; each change is a guarded transition, so two of them cannot do one thing twice.
"""

import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from obstore.exceptions import BaseError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from structlog import get_logger

from app import logs
from app.config import Settings
from app.contracts.job import Status
from app.db import lifecycle, verbs, waiting
from app.db.models import Job
from app.db.session import Database, database_now
from app.queue import Queue
from app.services import audit
from app.services.collection import BlobCollector
from app.services.completion import UploadCollector
from app.services.idempotency import forget_old
from app.storage import SHORT_PATIENCE_SECONDS, Storage

log = get_logger(__name__)

MOST_DOORBELLS = 100

Collector = BlobCollector | UploadCollector


class Reconciler:
    """Looks around once per ``tick``."""

    def __init__(self, database: Database, queue: Queue, settings: Settings) -> None:
        self._database = database
        self._queue = queue
        self._lease_seconds = settings.lease_seconds
        self._audit_days = settings.audit_days
        self._last_contact: float | None = None
        self._in_contact_since = 0.0

    def tick(self) -> None:
        """Do what is due; a database that is away is only noted."""
        try:
            self._reap()
            self._ring()
            forget_old(self._database)
            audit.forget_old(self._database, self._audit_days)
        except SQLAlchemyError as error:
            self._last_contact = None
            log.warning("database_away", reason=type(error).__name__)
        else:
            self._note_contact()

    def _note_contact(self) -> None:
        now = time.monotonic()
        if self._last_contact is None or now - self._last_contact > self._lease_seconds:
            self._in_contact_since = now
        self._last_contact = now

    def _may_reap(self) -> bool:
        """Tell whether workers have had a whole lease to renew since the database came back.

        Otherwise an outage of the database, or a reconciler that was stopped for a while, would
        take every job from its healthy worker at once.
        """
        now = time.monotonic()
        if self._last_contact is None or now - self._last_contact > self._lease_seconds:
            return False
        return now - self._in_contact_since >= self._lease_seconds

    def _reap(self) -> None:
        if not self._may_reap():
            self._database.ping()
            return
        with self._database.read() as session:
            lost = _lost_jobs(session)
        for job_id in lost:
            with self._database.write() as session:
                job = lifecycle.lock_if_free(session, job_id)
                if job is None:
                    # Its worker writes, or was halted while it did: no reason for others to wait.
                    continue
                if job.lease_until is not None and job.lease_until < database_now(session):
                    status = verbs.take_back(session, job)
                    log.warning("job_taken_back", job_id=job_id, fence=job.fence, status=status)

    def _ring(self) -> None:
        with self._database.read() as session:
            waiting = _waiting_jobs(session)
        # Doorbells that still lie in the queue will wake the workers that come for them.
        if waiting and self._queue.is_empty():
            for job_id in waiting:
                if not self._queue.ring(job_id):
                    break


def run(settings: Settings) -> None:
    """Look around until SIGTERM or SIGINT."""
    logs.configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = Database(settings.database_url)
    queue = Queue(settings.broker_url)
    reconciler = Reconciler(database, queue, settings)
    storage = Storage(settings.storage_url, SHORT_PATIENCE_SECONDS)
    collectors = (BlobCollector(database, storage), UploadCollector(database, storage))
    log.info("reconciler_started", lease_seconds=settings.lease_seconds)
    # In a thread of their own: a storage that is slow or silent holds up no job.
    with ThreadPoolExecutor(1) as thread:
        collecting = thread.submit(_collect_all, collectors)
        while not stop.wait(settings.reap_seconds):
            reconciler.tick()
            if collecting.done():
                # Raises what nobody has foreseen, as the tick does.
                collecting.result()
                collecting = thread.submit(_collect_all, collectors)
    queue.close()
    database.close()


def collect(collector: Collector) -> None:
    """Let blobs be collected; a storage or database that is away is only noted."""
    try:
        collector.tick()
    except (SQLAlchemyError, BaseError, OSError) as error:
        log.warning("blobs_not_collected", reason=type(error).__name__)


def _collect_all(collectors: Iterable[Collector]) -> None:
    for collector in collectors:
        collect(collector)


def _lost_jobs(session: Session) -> list[str]:
    now = database_now(session)
    return list(
        session.scalars(select(Job.id).where(Job.status == Status.RUNNING, Job.lease_until < now))
    )


def _waiting_jobs(session: Session) -> list[str]:
    query = waiting.due(database_now(session)).with_only_columns(Job.id)
    return list(session.scalars(query.limit(MOST_DOORBELLS)))
