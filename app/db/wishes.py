"""What clients do to a job, each a guarded transition inside the caller's transaction.

What workers and the reconciler do is in ``verbs.py``.
"""

from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.orm import Session

from app.contracts.job import FINAL, DesiredStatus, Status
from app.db.blobs import note_released
from app.db.checkpoints import Checkpoint, forget
from app.db.lifecycle import Actor, Event, amend, transition, write_event
from app.db.models import (
    Job,
    JobEvent,
    JobFile,
    JobLog,
    JobMetric,
    Knowledge,
    Model,
)
from app.db.session import database_now
from app.errors import Conflict

# Without the session's own bookkeeping, which takes as long again.
ADD = insert(Job.core())
COLUMNS = {each.key: each.columns[0].key for each in Job.__mapper__.column_attrs}
"""The table's columns by a job's attributes."""


def create(session: Session, job: Job) -> None:
    """Add a job that is queued from the start; it is read again to be changed."""
    given = vars(job)
    session.connection().execute(
        ADD, {column: given[key] for key, column in COLUMNS.items() if key in given}
    )
    write_event(session, job, Event("job.created", "The job was created."), job.created_at)


def cancel(session: Session, job: Job, *, kill: bool) -> None:
    """Cancel a job for its client: at once when nobody runs it, else at the next renewal.

    Raises:
        Conflict: The job has ended.
    """
    if job.status in FINAL:
        if job.status == Status.CANCELLED:
            return
        raise Conflict(
            f"the job has {job.status} and cannot be cancelled; only a queued, paused or running "
            "job can be"
        )
    if job.status == Status.RUNNING:
        if job.desired_status == DesiredStatus.CANCELLED and job.kill_requested >= kill:
            return
        transition(
            session,
            job,
            Status.RUNNING,
            by=Actor.CLIENT,
            event=Event("job.cancel_requested", "The client asked to cancel the job."),
            desired_status=DesiredStatus.CANCELLED,
            kill_requested=kill,
        )
        return
    transition(
        session,
        job,
        Status.CANCELLED,
        by=Actor.CLIENT,
        event=Event("job.cancelled", "The job was cancelled."),
        desired_status=DesiredStatus.CANCELLED,
        finished_at=database_now(session),
    )


def pause(session: Session, job: Job) -> None:
    """Pause a job for its client: at once while it waits, else at its next checkpoint.

    Raises:
        Conflict: The job has ended, or is being cancelled.
    """
    _check_open(job, "paused")
    if job.desired_status == DesiredStatus.PAUSED:
        return
    waits = job.status == Status.QUEUED
    transition(
        session,
        job,
        Status.PAUSED if waits else Status.RUNNING,
        by=Actor.CLIENT,
        event=Event("job.paused", "The job was paused.")
        if waits
        else Event("job.pause_requested", "The client asked to pause the job."),
        desired_status=DesiredStatus.PAUSED,
    )


def resume(session: Session, job: Job) -> None:
    """Let a paused job wait for a worker, or take back the wish to pause it.

    Raises:
        Conflict: The job has ended, or is being cancelled.
    """
    _check_open(job, "resumed")
    if job.desired_status == DesiredStatus.RUNNING:
        return
    transition(
        session,
        job,
        Status.QUEUED if job.status == Status.PAUSED else Status.RUNNING,
        by=Actor.CLIENT,
        event=Event("job.resumed", "The client asked to go on with the job."),
        desired_status=DesiredStatus.RUNNING,
        not_before=database_now(session),
    )


def edit(session: Session, job: Job, changes: dict[str, Any]) -> None:
    """Change a job's name, priority or metadata for its client; what is so already is no change.

    Its spec changes with it, so that a clone or a retry is of the job as it is now.

    Raises:
        Conflict: The job has ended, and its priority is to change.
    """
    shown = {"name": job.name, "priority": job.priority, "metadata": job.labels}
    new = {name: value for name, value in changes.items() if shown[name] != value}
    if "priority" in new and job.status in FINAL:
        raise Conflict(
            f"the job has {job.status} and waits for nothing; only the priority of a queued, "
            "paused or running job can be changed"
        )
    if not new:
        return
    columns = {("labels" if name == "metadata" else name): value for name, value in new.items()}
    amend(
        session,
        job,
        event=Event(
            "job.edited", f"The client changed the job's {', '.join(new)}.", {"changed": [*new]}
        ),
        spec={**job.spec, **new},
        resolved_spec={**job.resolved_spec, **new},
        **columns,
    )


def delete_job(session: Session, job: Job) -> None:
    """Remove a locked job with all that is its own; the knowledge that it collected stays.

    Raises:
        Conflict: The job has not ended.
    """
    if job.status not in FINAL:
        raise Conflict(f"the job is {job.status}; only one that has ended can be deleted")
    forget(session, select(Checkpoint.id).where(Checkpoint.job_id == job.id))
    blobs = select(JobFile.sha256, JobFile.bytes).where(JobFile.job_id == job.id)
    note_released(session, job.project_id, blobs)
    for table in (JobEvent, JobMetric, JobLog, JobFile, Model):
        session.execute(delete(table).where(table.job_id == job.id))
    of_job = Knowledge.job_id == job.id
    session.execute(update(Knowledge).where(of_job).values(job_id=None))
    _change_shown(session, Job.parent_id == job.id, parent_id=None)
    session.execute(delete(Job).where(Job.id == job.id))


def forget_knowledge(session: Session, knowledge_id: str) -> None:
    """Let no job name some knowledge any more; jobs that run would, so there may be none."""
    _change_shown(session, Job.knowledge_id == knowledge_id, knowledge_id=None)


def forget_model(session: Session, job_id: str) -> None:
    """Let a job's entity tag move where a model of it is deleted with its files."""
    _change_shown(session, Job.id == job_id)


def _check_open(job: Job, verb: str) -> None:
    if job.status in FINAL:
        raise Conflict(
            f"the job has {job.status} and cannot be {verb}; a job that has ended stays as it is, "
            "and `retry` makes a new one"
        )
    if job.desired_status == DesiredStatus.CANCELLED:
        raise Conflict(f"the job is being cancelled and cannot be {verb}; `retry` makes a new one")


def _change_shown(session: Session, which: ColumnElement[bool], **changes: None) -> None:
    """Change what jobs show of others, in whatever state they are; their entity tags move."""
    session.execute(
        update(Job).where(which).values(version=Job.version + 1, **changes),
        execution_options={"synchronize_session": False},
    )
