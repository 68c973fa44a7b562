"""A trainer's checkpoints: stored and committed while it works on, and brought back for the next.

The commit of its row is what makes a checkpoint count; until then the one before does.
"""

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from obstore.exceptions import BaseError
from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger
from uuid_utils import uuid7

from app.contracts.message import CheckpointWritten
from app.db import verbs
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.lifecycle import Event
from app.db.models import Job
from app.db.session import Database, database_now
from app.storage import Storage
from worker.delivery import BadDelivery, store_file
from worker.lease import Claim

log = get_logger(__name__)

RETRY_SECONDS = 2.0
MOST_TRIES = 15
"""Of the last checkpoint, for which an attempt that ends waits."""
FETCHED = "checkpoint.fetched"
"""The folder into which one is brought before any of it takes its place."""


class Keeper:
    """Keeps checkpoints in a thread of its own: storing one may take longer than a lease lasts.

    Only the newest that was offered is kept; leaving the block waits for it.
    """

    def __init__(self, database: Database, storage: Storage, claim: Claim, folder: Path) -> None:
        self._database = database
        self._storage = storage
        self._claim = claim
        self._folder = folder
        self._offered: CheckpointWritten | None = None
        self._stored: set[str] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._keep_until_the_end, name="keeper", daemon=True)

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

    def offer(self, message: CheckpointWritten) -> None:
        """Keep this checkpoint, unless a newer one comes before its turn."""
        with self._lock:
            self._offered = message
        self._wake.set()

    def _keep_until_the_end(self) -> None:
        tries_left = MOST_TRIES
        while tries_left:
            # Asked before the offer is taken, so that the last one is not missed.
            stopping = self._stopping
            message = self._taken()
            if message is not None:
                kept = self._try(message)
                tries_left -= stopping and not kept
            elif stopping:
                return
            else:
                self._wake.wait()
                self._wake.clear()

    def _taken(self) -> CheckpointWritten | None:
        with self._lock:
            message, self._offered = self._offered, None
        return message

    def _try(self, message: CheckpointWritten) -> bool:
        """Keep a checkpoint; return whether nothing more is to be done about it."""
        try:
            self._keep(message)
        except (verbs.FenceLost, BadDelivery) as error:
            # Another attempt has begun; or a newer checkpoint, and the trainer has removed this.
            log.info("checkpoint_passed_over", reason=str(error), **self._names)
        except (SQLAlchemyError, BaseError, OSError) as error:
            log.warning("checkpoint_not_kept", reason=type(error).__name__, **self._names)
            time.sleep(RETRY_SECONDS)
            with self._lock:
                self._offered = self._offered or message
            return False
        return True

    def _keep(self, message: CheckpointWritten) -> None:
        for file in message.files:
            # Outputs of earlier stages are in every checkpoint and never change.
            if file.sha256 not in self._stored:
                store_file(self._storage, self._folder, file)
                self._stored.add(file.sha256)
        files = [
            CheckpointFile(path=file.path, bytes=file.bytes, sha256=file.sha256)
            for file in message.files
        ]
        with self._database.write() as session:
            job = verbs.hold(session, self._claim.job_id, self._claim.fence)
            row = Checkpoint(
                id=f"checkpoint-{uuid7()}",
                phase=message.phase,
                role=message.role,
                folder=message.folder,
                step=message.step,
                epoch=message.epoch,
                metrics=message.metrics,
                created_at=database_now(session),
            )
            verbs.commit_checkpoint(session, job, row, files)
        log.info("checkpoint_kept", phase=message.phase, step=message.step, **self._names)

    @property
    def _names(self) -> dict[str, object]:
        return {"job_id": self._claim.job_id, "fence": self._claim.fence}


@dataclass(frozen=True)
class Kept:
    """A committed checkpoint and its files."""

    row: Checkpoint
    files: Sequence[CheckpointFile]


def restore(database: Database, storage: Storage, job: Job, folder: Path) -> None:
    """Bring a job's newest whole checkpoint into an attempt's folder, if it has one.

    A damaged one is told of in the job's events, and the one before is taken.

    Raises:
        FenceLost: The job is another attempt's.
        obstore.exceptions.BaseError: The storage is away.
    """
    for kept in _kept(database, job.id):
        where = f"{kept.row.phase}, step {kept.row.step:,}" if kept.row.step else kept.row.phase
        data: dict[str, JsonValue] = {
            "checkpoint": kept.row.id,
            "phase": kept.row.phase,
            "step": kept.row.step,
        }
        try:
            _fetch(storage, kept.files, folder)
        except (FileNotFoundError, ValueError) as error:
            log.warning("checkpoint_damaged", job_id=job.id, number=kept.row.number, why=str(error))
            message = f"Checkpoint {kept.row.number} is damaged and not used."
            _record(database, job, Event("job.checkpoint_damaged", message, data))
        else:
            message = f"It goes on from checkpoint {kept.row.number} ({where})."
            _record(database, job, Event("job.restored", message, data))
            return


def _kept(database: Database, job_id: str) -> list[Kept]:
    """Return a job's checkpoints, the newest first."""
    with database.read() as session:
        rows = session.scalars(
            select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.number.desc())
        ).all()
        return [
            Kept(
                row,
                session.scalars(
                    select(CheckpointFile).where(CheckpointFile.checkpoint_id == row.id)
                ).all(),
            )
            for row in rows
        ]


def _fetch(storage: Storage, files: Sequence[CheckpointFile], folder: Path) -> None:
    fetched = folder / FETCHED
    try:
        for file in files:
            target = fetched / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(file.sha256, file.bytes, target)
        for path in list(fetched.iterdir()):
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def _record(database: Database, job: Job, event: Event) -> None:
    with database.write() as session:
        verbs.record(session, verbs.hold(session, job.id, job.fence), event)
