"""Keeps a job held: renews its lease and writes what its trainer says, under its fence.

All of an attempt's writes before the last go through one thread here, each a transaction of its
own, so that a database that is away for a while loses nothing and stops nothing.
"""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session
from structlog import get_logger

from app.config import Settings
from app.contracts.job import DesiredStatus
from app.contracts.message import AnyMessage, PhaseFinished, PhaseStarted, Warned
from app.db import verbs
from app.db.models import Job
from app.db.session import AWAY, Database
from worker.journal import Output, latest_metrics, latest_progress, write_messages
from worker.observation import RENEWALS

log = get_logger(__name__)

FRESH_SECONDS = 2.0
"""How long news waits to be written, so that a client sees it soon and the database rests."""
LONGEST_OUTAGE_SECONDS = 600.0


class Wish(Enum):
    """What the supervisor should do with its trainer."""

    GO_ON = "go on"
    PAUSE = "pause"
    STOP = "stop"
    KILL = "kill"
    ABANDON = "abandon"


@dataclass(frozen=True)
class Claim:
    """One attempt at a job; its writes count only while ``fence`` is the job's."""

    job_id: str
    fence: int


@dataclass(frozen=True)
class Batch:
    """What one transaction wrote.

    Only the holder moves ``lease_until``, so it tells whether the last batch was committed.
    """

    num_messages: int
    piece: bytes
    lease_until: datetime | None


class Lease:
    """Held while the block runs; ``wish`` says what the client or the database wants."""

    def __init__(self, database: Database, claim: Claim, settings: Settings, output: Path) -> None:
        self.wish = Wish.GO_ON
        self._database = database
        self._claim = claim
        self._settings = settings
        self._output = Output(output)
        self._pending: list[AnyMessage] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._unsure: Batch | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def add(self, message: AnyMessage) -> None:
        """Write a message soon; a change of phase at once."""
        with self._lock:
            self._pending.append(message)
        if isinstance(message, PhaseStarted | PhaseFinished | Warned):
            self._wake.set()

    def _keep(self) -> None:
        try:
            self._renew_until_the_end()
        except verbs.FenceLost as lost:
            log.warning("fence_lost", job_id=self._claim.job_id, reason=str(lost))
            self.wish = Wish.ABANDON
        except Exception:  # a dead thread would leave a trainer that nobody can stop
            log.exception("lease_broke", job_id=self._claim.job_id)
            self.wish = Wish.ABANDON

    def _renew_until_the_end(self) -> None:
        renewed = time.monotonic()
        done = False
        while not done:
            self._wake.wait(min(FRESH_SECONDS, self._settings.renew_seconds))
            self._wake.clear()
            stopping = self._stopping
            due = time.monotonic() - renewed >= self._settings.renew_seconds
            if (due or stopping or self._pending) and self._renew():
                renewed = time.monotonic()
                # A piece of the log ends with a line and has a limit: the last may be several.
                done = stopping and not self._output.next_piece()
                if stopping:
                    self._wake.set()
            if time.monotonic() - renewed > LONGEST_OUTAGE_SECONDS:
                log.error("database_away_too_long", job_id=self._claim.job_id)
                self.wish = Wish.ABANDON
                return

    def _renew(self) -> bool:
        """Write all that is pending and renew; return whether the database took it.

        Raises:
            FenceLost: Another attempt has begun, or the job has ended.
        """
        try:
            with self._database.write() as session:
                job = verbs.hold(session, self._claim.job_id, self._claim.fence)
                if self._unsure is not None and self._unsure.lease_until == job.lease_until:
                    # It was committed, and only the word of it was lost.
                    self._forget(self._unsure)
                self._unsure = None
                batch = self._write(session, job)
                self._obey(job)
                self._unsure = batch
        except AWAY as error:
            log.warning("database_away", job_id=self._claim.job_id, reason=type(error).__name__)
            RENEWALS.labels("database away").inc()
            return False
        RENEWALS.labels("renewed").inc()
        self._unsure = None
        self._forget(batch)
        return True

    def _write(self, session: Session, job: Job) -> Batch:
        with self._lock:
            messages = list(self._pending)
        piece = self._output.next_piece()
        write_messages(session, job, messages)
        if piece:
            self._output.write(session, job, piece)
        progress, metrics = latest_progress(messages), latest_metrics(messages)
        verbs.renew(session, job, self._settings.lease_seconds, progress, metrics)
        return Batch(len(messages), piece, job.lease_until)

    def _forget(self, batch: Batch) -> None:
        """Take what has been written off what is to be written."""
        if batch.piece:
            self._output.taken(batch.piece)
        with self._lock:
            del self._pending[: batch.num_messages]

    def _obey(self, job: Job) -> None:
        if job.desired_status == DesiredStatus.CANCELLED:
            self.wish = Wish.KILL if job.kill_requested else Wish.STOP
        elif job.desired_status == DesiredStatus.PAUSED:
            self.wish = Wish.PAUSE
