"""Keeps a job held: renews its lease and writes what its trainer says, under its fence.

All of an attempt's writes before the last go through one thread here, each a transaction of its
own, so that a database that is away for a while loses nothing and stops nothing.
"""

import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DBAPIError
from structlog import get_logger

from app.config import Settings
from app.contracts.job import DesiredStatus
from app.contracts.message import AnyMessage, PhaseFinished, PhaseStarted, Warned
from app.db import verbs
from app.db.models import Job
from app.db.session import Database
from worker.journal import Output, latest_metrics, latest_progress, write_messages

log = get_logger(__name__)

FRESH_SECONDS = 2.0
"""How long news waits to be written, so that a client sees it soon and the database rests."""
LONGEST_OUTAGE_SECONDS = 600.0


class Wish(Enum):
    """What the supervisor should do with its trainer."""

    GO_ON = "go on"
    STOP = "stop"
    KILL = "kill"
    ABANDON = "abandon"


@dataclass(frozen=True)
class Claim:
    """One attempt at a job; its writes count only while ``fence`` is the job's."""

    job_id: str
    fence: int


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
        renewed = time.monotonic()
        last = False
        while not last and self.wish is not Wish.ABANDON:
            self._wake.wait(min(FRESH_SECONDS, self._settings.renew_seconds))
            self._wake.clear()
            last = self._stopping
            due = time.monotonic() - renewed >= self._settings.renew_seconds
            if (due or self._pending or last) and self._renew():
                renewed = time.monotonic()
            if time.monotonic() - renewed > LONGEST_OUTAGE_SECONDS:
                log.error("database_away_too_long", job_id=self._claim.job_id)
                self.wish = Wish.ABANDON
        # A piece ends with a line and has a limit, so the last words may be several.
        while self.wish is not Wish.ABANDON and self._output.next_piece() and self._renew():
            pass

    def _renew(self) -> bool:
        """Write all that is pending and renew; return whether the database took it."""
        with self._lock:
            messages = list(self._pending)
        piece = self._output.next_piece()
        try:
            with self._database.write() as session:
                job = verbs.hold(session, self._claim.job_id, self._claim.fence)
                write_messages(session, job, messages)
                if piece:
                    self._output.write(session, job, piece)
                progress, metrics = latest_progress(messages), latest_metrics(messages)
                verbs.renew(session, job, self._settings.lease_seconds, progress, metrics)
                self._obey(job)
        except verbs.FenceLost as lost:
            log.warning("fence_lost", job_id=self._claim.job_id, reason=str(lost))
            self.wish = Wish.ABANDON
            return True
        except DBAPIError as error:
            log.warning("database_away", job_id=self._claim.job_id, reason=str(error.orig))
            return False
        if piece:
            self._output.taken(piece)
        with self._lock:
            del self._pending[: len(messages)]
        return True

    def _obey(self, job: Job) -> None:
        if job.desired_status == DesiredStatus.CANCELLED:
            self.wish = Wish.KILL if job.kill_requested else Wish.STOP
