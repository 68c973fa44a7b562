"""The only place a job changes state: a guarded compare-and-set that writes its event.

What clients do with it is in ``wishes.py``; what workers and the reconciler do, in ``verbs.py``.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import JsonValue
from sqlalchemy import insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from app.contracts.job import Status
from app.db.models import Job, JobEvent
from app.db.outbox import publish_job
from app.db.session import database_now


class Actor(StrEnum):
    CLIENT = "client"
    WORKER = "worker"
    HOLDER = "holder"
    REAPER = "reaper"


LEGAL: dict[tuple[Status, Status], frozenset[Actor]] = {
    (Status.QUEUED, Status.RUNNING): frozenset({Actor.WORKER}),
    (Status.QUEUED, Status.CANCELLED): frozenset({Actor.CLIENT}),
    (Status.QUEUED, Status.PAUSED): frozenset({Actor.CLIENT}),
    (Status.PAUSED, Status.QUEUED): frozenset({Actor.CLIENT}),
    (Status.PAUSED, Status.CANCELLED): frozenset({Actor.CLIENT}),
    (Status.RUNNING, Status.RUNNING): frozenset({Actor.HOLDER, Actor.CLIENT}),
    (Status.RUNNING, Status.SUCCEEDED): frozenset({Actor.HOLDER}),
    (Status.RUNNING, Status.PAUSED): frozenset({Actor.HOLDER, Actor.REAPER}),
    (Status.RUNNING, Status.CANCELLED): frozenset({Actor.HOLDER, Actor.REAPER}),
    (Status.RUNNING, Status.QUEUED): frozenset({Actor.HOLDER, Actor.REAPER}),
    (Status.RUNNING, Status.FAILED): frozenset({Actor.HOLDER, Actor.REAPER}),
}
"""Who may take a job from where to where; all else is illegal."""


AMENDABLE = {"name", "priority", "labels", "spec", "resolved_spec"}
"""Columns that may change whatever the status."""

WRITE_EVENT = insert(JobEvent.core())


class Raced(Exception):
    """The row changed between its lock and its update: never, if the lock holds."""


@dataclass(frozen=True)
class Event:
    """What a change is called, one sentence for people, and facts for programs."""

    type: str
    message: str
    data: dict[str, JsonValue] = field(default_factory=dict)


def transition(
    session: Session,
    job: Job,
    to: Status,
    *,
    by: Actor,
    event: Event | None,
    **changes: Any,  # noqa: ANN401 (columns of a job)
) -> None:
    """Take ``job``, as it was read in this transaction, to a status and write the event.

    Raises:
        AssertionError: The actor may not make that change.
        Raced: The row is no longer as it was read.
    """
    assert by in LEGAL.get((job.status, to), ()), f"{by} may not take {job.status} to {to}"  # noqa: S101 (a programmer's mistake)
    _change(session, job, event, {**changes, "status": to})


def amend(
    session: Session,
    job: Job,
    *,
    event: Event,
    **changes: Any,  # noqa: ANN401 (columns of a job)
) -> None:
    """Change columns of ``job``, in whatever status it is, that say nothing of its state.

    Raises:
        AssertionError: One of them does.
        Raced: The row is no longer as it was read.
    """
    assert changes.keys() <= AMENDABLE, f"expected columns of {sorted(AMENDABLE)}"  # noqa: S101 (a programmer's mistake)
    _change(session, job, event, changes)


def write_event(session: Session, job: Job, event: Event, now: datetime) -> None:
    """Add the event that ``job.num_events`` already counts, and what the world is told of it."""
    row = {
        "job_id": job.id,
        "number": job.num_events,
        "fence": job.fence,
        "type": event.type,
        "message": event.message,
        "data": event.data,
        "created_at": now,
    }
    session.connection().execute(WRITE_EVENT, row)
    publish_job(session, job, event.type, now)


def lock(session: Session, job_id: str) -> Job:
    """Read a job's row and keep others from changing it until the transaction ends."""
    return session.scalars(
        select(Job)
        .where(Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def lock_if_free(session: Session, job_id: str) -> Job | None:
    """Lock a job's row as ``lock`` does; return None where someone else holds it, or it is gone."""
    return session.scalars(
        select(Job)
        .where(Job.id == job_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()


def _change(session: Session, job: Job, event: Event | None, changes: dict[str, Any]) -> None:
    now = database_now(session)
    number = job.num_events + (event is not None)
    result = session.execute(
        update(Job)
        .where(
            Job.id == job.id,
            Job.status == job.status,
            Job.fence == job.fence,
            Job.version == job.version,
        )
        .values(version=job.version + 1, num_events=number, **changes),
        execution_options={"synchronize_session": False},
    )
    assert isinstance(result, CursorResult)  # noqa: S101 (for the type checker)
    if result.rowcount != 1:
        raise Raced(f"job {job.id} changed while it was locked")
    session.refresh(job)
    if event is not None:
        write_event(session, job, event, now)
