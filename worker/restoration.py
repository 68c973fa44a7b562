"""A job's newest whole checkpoint, brought into the folder of its next attempt."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import select
from structlog import get_logger

from app.db import verbs
from app.db.checkpoints import Checkpoint, CheckpointFile
from app.db.lifecycle import Event
from app.db.models import Job
from app.db.session import Database
from app.storage import Storage

log = get_logger(__name__)

FETCHED = "checkpoint.fetched"
"""The folder into which one is brought before any of it takes its place."""


@dataclass(frozen=True)
class Kept:
    """A committed checkpoint and its files."""

    row: Checkpoint
    files: Sequence[CheckpointFile]


def restore(
    database: Database, storage: Storage, job: Job, folder: Path, check: Callable[[], None]
) -> None:
    """Bring a job's newest whole checkpoint into an attempt's folder, if it has one.

    A damaged one is told of in the job's events, and the one before is taken. ``check`` is called
    now and then and may raise what it likes.

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
            _fetch(storage, kept.files, folder, check)
        except (FileNotFoundError, ValueError) as error:
            log.warning("checkpoint_damaged", job_id=job.id, number=kept.row.number, why=str(error))
            message = f"Checkpoint {kept.row.number} is damaged and not used."
            _record(database, job, Event("job.checkpoint_damaged", message, data))
        else:
            message = f"It was given checkpoint {kept.row.number} to go on from ({where})."
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


def _fetch(
    storage: Storage, files: Sequence[CheckpointFile], folder: Path, check: Callable[[], None]
) -> None:
    fetched = folder / FETCHED
    try:
        for file in files:
            target = fetched / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(file.sha256, file.bytes, target, check)
        for path in list(fetched.iterdir()):
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def _record(database: Database, job: Job, event: Event) -> None:
    with database.write() as session:
        verbs.record(session, verbs.hold(session, job.id, job.fence), event)
