"""What clients, workers and the reconciler do to a job, each a guarded transition.

Every verb runs inside the caller's transaction and locks the job's row first. A worker's verbs
name the fence of its claim; when that is no longer the job's, ``FenceLost`` says that another
attempt has begun, and nothing is changed.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from app.contracts.job import DesiredStatus, JobError, Phase, Progress, Status
from app.contracts.report import Report
from app.db.lifecycle import Actor, Event, transition, write_event
from app.db.models import FINAL, Job, JobEvent, JobFile, JobLog, JobMetric, Knowledge, Model
from app.db.session import database_now
from app.errors import Conflict

MAX_LOSSES = 20
"""How often a job may lose its worker before that is taken for the job's own fault."""
LONGEST_BACKOFF_SECONDS = 600


class FenceLost(Exception):
    """The job is no longer this attempt's: another has begun, or it has ended."""


def create(session: Session, job: Job) -> None:
    """Add a job that is queued from the start."""
    session.add(job)
    session.flush()
    write_event(session, job, Event("job.created", "The job was created."), job.created_at)


def claim(session: Session, worker_id: str, gpus: int, lease_seconds: float) -> Job | None:
    """Take the first job that this worker may run, or None where none waits."""
    now = database_now(session)
    job = session.scalar(
        select(Job)
        .where(
            Job.status == Status.QUEUED,
            Job.desired_status == DesiredStatus.RUNNING,
            Job.not_before <= now,
            or_(Job.gpus.is_(None), Job.gpus <= gpus),
        )
        .order_by(Job.priority.desc(), Job.queued_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if job is None:
        return None
    attempt = job.attempt + 1
    transition(
        session,
        job,
        Status.RUNNING,
        by=Actor.WORKER,
        event=Event("job.claimed", f"Attempt {attempt} has begun.", {"attempt": attempt}),
        fence=job.fence + 1,
        attempt=attempt,
        worker_id=worker_id,
        lease_until=now + timedelta(seconds=lease_seconds),
        started_at=job.started_at or now,
        phase=None,
        phases=[],
        progress=None,
        latest_metrics={},
    )
    return job


def hold(session: Session, job_id: str, fence: int) -> Job:
    """Lock a job for its running attempt.

    Raises:
        FenceLost: The job is not running under this fence.
    """
    job = lock(session, job_id)
    if job.status != Status.RUNNING or job.fence != fence:
        raise FenceLost(f"job {job_id} is {job.status} under fence {job.fence}, not {fence}")
    return job


def lock(session: Session, job_id: str) -> Job:
    """Read a job's row and keep others from changing it until the transaction ends."""
    return session.scalars(
        select(Job)
        .where(Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def renew(
    session: Session,
    job: Job,
    lease_seconds: float,
    progress: Progress | None,
    latest_metrics: dict[str, float],
) -> None:
    """Keep a held job for another lease and say how far it is."""
    transition(
        session,
        job,
        Status.RUNNING,
        by=Actor.HOLDER,
        event=None,
        lease_until=database_now(session) + timedelta(seconds=lease_seconds),
        progress=progress.model_dump(mode="json") if progress else job.progress,
        latest_metrics={**job.latest_metrics, **latest_metrics},
    )


def record(session: Session, job: Job, event: Event, **changes: Any) -> None:  # noqa: ANN401 (columns of a job)
    """Note what happens in a held job, with the columns it changes."""
    transition(session, job, Status.RUNNING, by=Actor.HOLDER, event=event, **changes)


def use_knowledge(session: Session, job: Job, knowledge_id: str | None) -> None:
    """Note which knowledge a held job uses or has collected; it is kept while the job runs."""
    if job.knowledge_id != knowledge_id:
        transition(
            session,
            job,
            Status.RUNNING,
            by=Actor.HOLDER,
            event=None,
            knowledge_id=knowledge_id,
        )


def succeed(session: Session, job: Job, report: Report) -> None:
    """End a held job well; files and models are added in the same transaction."""
    transition(
        session,
        job,
        Status.SUCCEEDED,
        by=Actor.HOLDER,
        event=Event("job.succeeded", "The student is ready."),
        result=report.model_dump(mode="json"),
        **_ended(session),
    )


def fail(session: Session, job: Job, error: JobError, by: Actor) -> None:
    """End a running job badly."""
    transition(
        session,
        job,
        Status.FAILED,
        by=by,
        event=Event("job.failed", error.message, {"code": error.code}),
        error=error.model_dump(mode="json"),
        **_ended(session),
    )


def confirm_cancelled(session: Session, job: Job, by: Actor) -> None:
    """End a running job that its client has cancelled."""
    transition(
        session,
        job,
        Status.CANCELLED,
        by=by,
        event=Event("job.cancelled", "The job was cancelled."),
        **_ended(session),
    )


def retry(session: Session, job: Job, error: JobError, backoff_seconds: float) -> None:
    """Queue a held job again after a charged failure, or fail it when its attempts are spent."""
    failures = job.num_failures + 1
    if failures >= job.max_attempts:
        fail(session, job, error, Actor.HOLDER)
        return
    wait = min(backoff_seconds * 2 ** (failures - 1), LONGEST_BACKOFF_SECONDS)
    message = f"{error.message} Next attempt in {wait:g} s."
    _requeue(session, job, Actor.HOLDER, message, wait, num_failures=failures)


def give_back(session: Session, job: Job) -> None:
    """Queue a held job again because its worker is going; nothing is charged."""
    _requeue(session, job, Actor.HOLDER, "The worker was stopped; the job waits for another.", 0)


def take_back(session: Session, job: Job) -> Status:
    """Queue a running job whose lease is over, cancel it if that was asked, or give it up."""
    if job.desired_status == DesiredStatus.CANCELLED:
        confirm_cancelled(session, job, Actor.REAPER)
    elif job.num_losses + 1 >= MAX_LOSSES:
        error = JobError(
            code="workers_lost",
            message=f"{MAX_LOSSES} workers were lost while they ran this job.",
            phase=Phase(job.phase) if job.phase else None,
            retryable=True,
            hint="See the workers' own logs: the job may take more memory than they have.",
        )
        fail(session, job, error, Actor.REAPER)
    else:
        message = "The worker was lost; the job waits for another."
        _requeue(session, job, Actor.REAPER, message, 0, num_losses=job.num_losses + 1)
    return job.status


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


def delete_job(session: Session, job: Job) -> None:
    """Remove a locked job with all that is its own; the knowledge that it collected stays.

    Raises:
        Conflict: The job has not ended.
    """
    if job.status not in FINAL:
        raise Conflict(f"the job is {job.status}; only one that has ended can be deleted")
    for table in (JobEvent, JobMetric, JobLog, JobFile, Model):
        session.execute(delete(table).where(table.job_id == job.id))
    of_job = Knowledge.job_id == job.id
    session.execute(update(Knowledge).where(of_job).values(job_id=None))
    _change_shown(session, Job.parent_id == job.id, parent_id=None)
    session.execute(delete(Job).where(Job.id == job.id))


def forget_knowledge(session: Session, knowledge_id: str) -> None:
    """Let no job name some knowledge any more; jobs that run would, so there may be none."""
    _change_shown(session, Job.knowledge_id == knowledge_id, knowledge_id=None)


def _change_shown(session: Session, which: ColumnElement[bool], **changes: None) -> None:
    """Change what jobs show of others, in whatever state they are; their entity tags move."""
    session.execute(
        update(Job).where(which).values(version=Job.version + 1, **changes),
        execution_options={"synchronize_session": False},
    )


def _requeue(
    session: Session, job: Job, by: Actor, message: str, wait_seconds: float, **charged: int
) -> None:
    now = database_now(session)
    transition(
        session,
        job,
        Status.QUEUED,
        by=by,
        event=Event("job.requeued", message),
        not_before=now + timedelta(seconds=wait_seconds),
        worker_id=None,
        lease_until=None,
        progress=None,
        **charged,
    )


def _ended(session: Session) -> dict[str, datetime | None]:
    return {"finished_at": database_now(session), "worker_id": None, "lease_until": None}
