"""Jobs that are there, as a client uses them: list, read, cancel, pause, resume."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.job import FINAL, Job, Status
from app.contracts.registry import Page
from app.contracts.requests import Edit
from app.db import wishes
from app.db.models import Job as JobRow
from app.db.models import Model
from app.db.session import Database
from app.entity_tags import ANY, named
from app.errors import PreconditionFailed
from app.queue import Queue
from app.services import audit, quotas
from app.services.filters import Filters
from app.services.ownership import ends, find, find_to_change, newest, owned
from app.services.results import files_of
from app.services.surroundings import Surroundings, look_around


def list_jobs(
    database: Database, project_id: str, after: str | None, limit: int, wanted: Filters
) -> Page[Job]:
    query = wanted.apply(owned(JobRow, project_id), is_sqlite=database.is_sqlite)
    with database.read() as session:
        rows, has_more = newest(session, query, JobRow, after, limit)
        data = views(session, rows)
    return Page[Job](data=data, has_more=has_more, **ends([job.id for job in data]))


def read(database: Database, project_id: str, job_id: str) -> Job:
    with database.read() as session:
        return views(session, [find(session, JobRow, project_id, job_id)])[0]


def edit(
    database: Database, project_id: str, job_id: str, changes: Edit, if_match: str | None
) -> Job:
    """Change a job's name, priority or metadata; only where its entity tag is still the given one.

    Raises:
        Conflict: The job has ended, and its priority is to change.
        PreconditionFailed: The job has changed since the client read it.
    """
    with database.write() as session:
        row = find_to_change(session, JobRow, project_id, job_id)
        if not _is_known(row.version, if_match):
            raise PreconditionFailed(
                f"given If-Match: {if_match}; the job is at version {row.version} by now; read it "
                "again and see whether the change is still wanted"
            )
        wishes.edit(session, row, changes.model_dump(exclude_unset=True))
        audit.note(session, project_id, "job.update", job_id)
        return views(session, [row])[0]


def entity_tag(job: Job) -> str:
    """Give the strong entity tag of a job as it is shown."""
    # Why a job waits can change with nothing written to it.
    return f'"{job.version}{f"-{job.waiting_reason}" if job.waiting_reason else ""}"'


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
            quotas.require_room_to_queue(session, project_id, look_around(session, project_id))
        wishes.resume(session, row)
        audit.note(session, project_id, "job.resume", job_id)
        job = views(session, [row])[0]
    if job.status is Status.QUEUED:
        queue.ring(job.id)
    return job


def views(
    session: Session, rows: Sequence[JobRow], around: Surroundings | None = None
) -> list[Job]:
    """Show jobs of one project with what other tables know of them, in a few queries.

    ``around`` need not be looked for where the caller has it.
    """
    # What a job delivers is committed with its end: of others there is nothing to look for.
    ended = [row.id for row in rows if row.status in FINAL]
    files = files_of(session, ended) if ended else {}
    models = {
        (model.job_id, model.role): model.id
        for model in (
            session.scalars(select(Model).where(Model.job_id.in_(ended))) if ended else ()
        )
    }
    queued = [row for row in rows if row.status == Status.QUEUED]
    if around is None and queued:
        around = look_around(session, queued[0].project_id)
    return [
        Job.model_validate(
            {
                **_own_columns(row),
                "waiting_reason": around.waiting_reason(
                    row.gpus, is_early=row.not_before > around.now
                )
                if around is not None and row.status == Status.QUEUED
                else None,
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


def _is_known(version: int, if_match: str | None) -> bool:
    """Compare versions alone: why a job waits is nothing that an edit could overwrite."""
    if if_match is None:
        return True
    tags = named(if_match)
    return ANY in tags or any(
        tag.startswith('"') and tag.strip('"').partition("-")[0] == str(version) for tag in tags
    )
