"""What workers and the reconciler do to a job, each a guarded transition.

What clients do is in ``wishes.py``. Every verb runs inside the caller's transaction and locks the
job's row first. A worker's verbs name the fence of its claim; when that is no longer the job's,
``FenceLost`` says that another attempt has begun, and nothing is changed.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.job import DesiredStatus, JobError, Phase, Progress, Status
from app.contracts.report import Report
from app.db.checkpoints import Checkpoint, CheckpointFile, forget, is_further
from app.db.lifecycle import Actor, Event, lock, transition
from app.db.models import Job
from app.db.registry import number_models
from app.db.session import database_now
from app.db.waiting import lock_next

MAX_LOSSES = 20
"""How often in a row, with no new checkpoint between, a job may lose its worker or find no space
or GPU before that is taken for its own fault."""
KEPT_CHECKPOINTS = 2
LONGEST_BACKOFF_SECONDS = 600


class FenceLost(Exception):
    """The job is no longer this attempt's: another has begun, or it has ended."""


def claim(session: Session, worker_id: str, gpus: int, lease_seconds: float) -> Job | None:
    """Take the first job that this worker may run, or None where none waits."""
    now = database_now(session)
    job = lock_next(session, gpus, now)
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
        progress=None,
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
    """End a held job well; files and models have been added in the same transaction."""
    number_models(session, job)
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


def retry(
    session: Session,
    job: Job,
    error: JobError,
    backoff_seconds: float,
    most_failures: int | None = None,
) -> None:
    """Queue a held job again after a charged failure, or fail it when its attempts are spent.

    Failures count in a row: a new checkpoint is progress, and they begin anew.
    """
    failures = job.num_failures + 1
    if failures >= min(job.max_attempts, most_failures or job.max_attempts):
        fail(session, job, error, Actor.HOLDER)
        return
    wait = _backoff(backoff_seconds, failures)
    message = f"{error.message} Next attempt in {wait:g} s."
    _requeue(session, job, Actor.HOLDER, _requeued(error, message), wait, num_failures=failures)


def set_aside(session: Session, job: Job, error: JobError, backoff_seconds: float) -> None:
    """Queue a held job again after what was its machine's fault, such as a full disk."""
    losses = job.num_losses + 1
    if losses >= MAX_LOSSES:
        fail(session, job, error, Actor.HOLDER)
        return
    wait = _backoff(backoff_seconds, losses)
    message = f"{error.message} Next attempt in {wait:g} s; this one is not charged."
    _requeue(session, job, Actor.HOLDER, _requeued(error, message), wait, num_losses=losses)


def give_back(session: Session, job: Job) -> None:
    """Queue a held job again because its worker is going; nothing is charged."""
    stopped = Event("job.requeued", "The worker was stopped; the job waits for another.")
    _requeue(session, job, Actor.HOLDER, stopped, 0)


def commit_checkpoint(
    session: Session, job: Job, checkpoint: Checkpoint, files: list[CheckpointFile]
) -> None:
    """Add a held job's checkpoint, from now on the newest, and forget all but the two newest.

    Sets its job, fence and number. Where it is further than the one before, failures are counted
    anew: a job that fails at one point again and again must come to an end.
    """
    number = job.num_checkpoints + 1
    before = session.scalar(
        select(Checkpoint).where(Checkpoint.job_id == job.id).order_by(Checkpoint.number.desc())
    )
    counted = {} if not is_further(checkpoint, before) else {"num_failures": 0, "num_losses": 0}
    transition(
        session,
        job,
        Status.RUNNING,
        by=Actor.HOLDER,
        event=Event(
            "job.checkpoint",
            f"Checkpoint {number} is kept.",
            {
                "checkpoint": checkpoint.id,
                "phase": checkpoint.phase,
                "role": checkpoint.role,
                "step": checkpoint.step,
            },
        ),
        num_checkpoints=number,
        **counted,
    )
    checkpoint.job_id, checkpoint.fence, checkpoint.number = job.id, job.fence, number
    session.add(checkpoint)
    session.flush()
    for file in files:
        file.checkpoint_id = checkpoint.id
    session.add_all(files)
    session.flush()
    of_job = select(Checkpoint.id).where(Checkpoint.job_id == job.id)
    forget(session, of_job.where(Checkpoint.number <= number - KEPT_CHECKPOINTS))


def confirm_paused(session: Session, job: Job, by: Actor, **charged: int) -> None:
    """Lay a running job aside that its client has paused; it goes on from its last checkpoint."""
    transition(
        session,
        job,
        Status.PAUSED,
        by=by,
        event=Event("job.paused", "The job was paused.", {"checkpoints": job.num_checkpoints}),
        worker_id=None,
        lease_until=None,
        progress=None,
        **charged,
    )


def take_back(session: Session, job: Job) -> Status:
    """Queue a running job whose lease is over, or do what its client wants; or give it up."""
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
        lost = Event("job.requeued", message)
        _requeue(session, job, Actor.REAPER, lost, 0, num_losses=job.num_losses + 1)
    return job.status


def _backoff(first_seconds: float, times: int) -> float:
    # No more than that many doublings: a float has its limits.
    return min(first_seconds * 2.0 ** min(times - 1, 30), LONGEST_BACKOFF_SECONDS)


def _requeue(
    session: Session, job: Job, by: Actor, event: Event, wait_seconds: float, **charged: int
) -> None:
    """Queue a running job again; one that its client wants paused is laid aside instead."""
    if job.desired_status == DesiredStatus.PAUSED:
        confirm_paused(session, job, by, **charged)
        return
    now = database_now(session)
    transition(
        session,
        job,
        Status.QUEUED,
        by=by,
        event=event,
        not_before=now + timedelta(seconds=wait_seconds),
        worker_id=None,
        lease_until=None,
        progress=None,
        **charged,
    )


def _requeued(error: JobError, message: str) -> Event:
    return Event("job.requeued", message, {"code": error.code})


def _ended(session: Session) -> dict[str, datetime | None]:
    return {"finished_at": database_now(session), "worker_id": None, "lease_until": None}
