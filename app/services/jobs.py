"""Jobs as a client uses them: check, create, list, read, cancel."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from app.contracts.job import DesiredStatus, Job, JobSpec, Status, ValidatedSpec
from app.contracts.registry import Page
from app.db import lifecycle, wishes
from app.db.models import Job as JobRow
from app.db.models import Model, Worker
from app.db.session import Database, database_now
from app.queue import Queue
from app.services import specs
from app.services.deletion import hold_named
from app.services.ownership import ends, find, newest, owned
from app.services.results import files_of

MAX_ATTEMPTS = 3
SILENT_AFTER = timedelta(seconds=60)
"""A worker says that it is there every 10 s; one silent for so long is taken for gone."""

WaitingReason = Literal["no_worker", "capacity", "backoff"]


def validate(database: Database, project_id: str, spec: JobSpec) -> ValidatedSpec:
    """Check a spec as ``create`` would, and queue nothing."""
    with database.read() as session:
        warnings = specs.check(session, project_id, spec)
    return ValidatedSpec(resolved_spec=spec.model_dump(mode="json"), warnings=warnings)


def create(database: Database, queue: Queue, project_id: str, spec: JobSpec) -> Job:
    """Check a spec, queue its job, and ring once it is committed."""
    with database.write() as session:
        hold_named(session, project_id, spec)
        warnings = specs.check(session, project_id, spec)
        row = _new(project_id, spec, warnings, database_now(session))
        wishes.create(session, row)
        job = _views(session, [row])[0]
    queue.ring(job.id)
    return job


def list_jobs(
    database: Database, project_id: str, after: str | None, limit: int, status: Status | None
) -> Page[Job]:
    query = owned(JobRow, project_id)
    if status is not None:
        query = query.where(JobRow.status == status)
    with database.read() as session:
        rows, has_more = newest(session, query, JobRow, after, limit)
        data = _views(session, rows)
    return Page[Job](data=data, has_more=has_more, **ends([job.id for job in data]))


def read(database: Database, project_id: str, job_id: str) -> Job:
    with database.read() as session:
        return _views(session, [find(session, JobRow, project_id, job_id)])[0]


def cancel(database: Database, project_id: str, job_id: str, *, kill: bool) -> Job:
    """Cancel a job: at once where nobody runs it, else its ``desired_status`` says so.

    Raises:
        Conflict: The job has succeeded or failed.
    """
    with database.write() as session:
        row = lifecycle.lock(session, find(session, JobRow, project_id, job_id).id)
        wishes.cancel(session, row, kill=kill)
        return _views(session, [row])[0]


def _new(project_id: str, spec: JobSpec, warnings: list[str], now: datetime) -> JobRow:
    return JobRow(
        id=f"distjob-{uuid7()}",
        project_id=project_id,
        name=spec.name,
        spec=spec.model_dump(mode="json", exclude_unset=True),
        resolved_spec=spec.model_dump(mode="json"),
        labels=spec.metadata,
        priority=spec.priority,
        gpus=spec.resources.gpus,
        knowledge_id=spec.teacher.knowledge if spec.teacher.source == "knowledge" else None,
        status=Status.QUEUED,
        desired_status=DesiredStatus.RUNNING,
        kill_requested=False,
        version=1,
        num_events=1,
        fence=0,
        not_before=now,
        attempt=0,
        num_failures=0,
        num_losses=0,
        num_checkpoints=0,
        max_attempts=MAX_ATTEMPTS,
        created_at=now,
        queued_at=now,
        phases=[],
        latest_metrics={},
        warnings=warnings,
    )


def _views(session: Session, rows: Sequence[JobRow]) -> list[Job]:
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
    return [
        Job.model_validate(
            {
                **_own_columns(row),
                "waiting_reason": _waiting_reason(row, now, most_gpus),
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


def _waiting_reason(row: JobRow, now: datetime, most_gpus: int | None) -> WaitingReason | None:
    if row.status != Status.QUEUED:
        return None
    if row.not_before > now:
        return "backoff"
    if most_gpus is None or most_gpus < (row.gpus or 0):
        return "no_worker"
    return "capacity"
