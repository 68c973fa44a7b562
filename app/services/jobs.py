"""Jobs that are there, as a client uses them: list, read, cancel, pause, resume."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contracts.job import Job, Status
from app.contracts.registry import Page
from app.db import wishes
from app.db.models import Job as JobRow
from app.db.models import Model, Worker
from app.db.quotas import Quota, projects_running_their_most
from app.db.session import Database, database_now
from app.queue import Queue
from app.services import audit, quotas
from app.services.ownership import ends, find, find_to_change, newest, owned
from app.services.results import files_of

SILENT_AFTER = timedelta(seconds=60)
"""A worker says that it is there every 10 s; one silent for so long is taken for gone."""

WaitingReason = Literal["no_worker", "capacity", "quota", "backoff"]


def list_jobs(
    database: Database, project_id: str, after: str | None, limit: int, status: Status | None
) -> Page[Job]:
    query = owned(JobRow, project_id)
    if status is not None:
        query = query.where(JobRow.status == status)
    with database.read() as session:
        rows, has_more = newest(session, query, JobRow, after, limit)
        data = views(session, rows)
    return Page[Job](data=data, has_more=has_more, **ends([job.id for job in data]))


def read(database: Database, project_id: str, job_id: str) -> Job:
    with database.read() as session:
        return views(session, [find(session, JobRow, project_id, job_id)])[0]


def cancel(database: Database, project_id: str, job_id: str, *, kill: bool) -> Job:
    """Cancel a job: at once where nobody runs it, else its ``desired_status`` says so.

    Raises:
        Conflict: The job has succeeded or failed.
    """
    with database.write() as session:
        row = find_to_change(session, JobRow, project_id, job_id)
        wishes.cancel(session, row, kill=kill)
        audit.note(session, project_id, "job.cancel", job_id)
        return views(session, [row])[0]


def pause(database: Database, project_id: str, job_id: str) -> Job:
    """Pause a job: at once where nobody runs it, else its ``desired_status`` says so.

    Raises:
        Conflict: The job has ended or is being cancelled.
    """
    with database.write() as session:
        row = find_to_change(session, JobRow, project_id, job_id)
        wishes.pause(session, row)
        audit.note(session, project_id, "job.pause", job_id)
        return views(session, [row])[0]


def resume(database: Database, queue: Queue, project_id: str, job_id: str) -> Job:
    """Let a paused job go on, and ring where it waits for a worker from now on.

    Raises:
        Conflict: The job has ended or is being cancelled.
        QuotaExceeded: The project has as many jobs queued as it may.
    """
    with database.write() as session:
        row = find_to_change(session, JobRow, project_id, job_id)
        if row.status == Status.PAUSED:
            quotas.require_room_to_queue(session, project_id)
        wishes.resume(session, row)
        audit.note(session, project_id, "job.resume", job_id)
        job = views(session, [row])[0]
    if job.status is Status.QUEUED:
        queue.ring(job.id)
    return job


def views(session: Session, rows: Sequence[JobRow]) -> list[Job]:
    """Show jobs with what other tables know of them, in a fixed number of queries."""
    job_ids = [row.id for row in rows]
    files = files_of(session, job_ids)
    models = {
        (model.job_id, model.role): model.id
        for model in session.scalars(select(Model).where(Model.job_id.in_(job_ids)))
    }
    now = database_now(session)
    most_gpus = session.scalar(
        select(func.max(Worker.gpus)).where(Worker.seen_at > now - SILENT_AFTER)
    )
    full = _full_projects(session, rows)
    return [
        Job.model_validate(
            {
                **_own_columns(row),
                "waiting_reason": _waiting_reason(row, now, most_gpus, full),
                "knowledge": row.knowledge_id,
                "student_model": models.get((row.id, "student")),
                "teacher_model": models.get(
                    (row.id, "teacher"), row.resolved_spec["teacher"].get("model")
                ),
                "files": files.get(row.id, []),
            }
        )
        for row in rows
    ]


def _own_columns(row: JobRow) -> dict[str, Any]:
    names = Job.model_fields.keys() & set(JobRow.__table__.columns.keys()) - {"metadata"}
    return {
        **{name: getattr(row, name) for name in names},
        "metrics": row.latest_metrics,
        "metadata": row.labels,
    }


def _full_projects(session: Session, rows: Sequence[JobRow]) -> set[str]:
    """Return which projects of jobs that wait run as many as they may."""
    waiting = {row.project_id for row in rows if row.status == Status.QUEUED}
    if not waiting:
        return set()
    full = projects_running_their_most().where(Quota.project_id.in_(waiting))
    return set(session.scalars(full))


def _waiting_reason(
    row: JobRow, now: datetime, most_gpus: int | None, full: set[str]
) -> WaitingReason | None:
    if row.status != Status.QUEUED:
        return None
    if row.not_before > now:
        return "backoff"
    if row.project_id in full:
        return "quota"
    lacks_worker = most_gpus is None or most_gpus < (row.gpus or 0)
    return "no_worker" if lacks_worker else "capacity"
