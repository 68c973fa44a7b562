"""Which of the jobs that wait comes next."""

from datetime import datetime

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from app.contracts.job import DesiredStatus, Status
from app.db.models import Job
from app.db.quotas import may_run_another, projects_running_their_most


def due(now: datetime) -> Select[Job]:
    """Select the jobs that a worker could begin now, in the order in which they are begun."""
    return (
        select(Job)
        .where(
            Job.status == Status.QUEUED,
            Job.desired_status == DesiredStatus.RUNNING,
            Job.not_before <= now,
            Job.project_id.not_in(projects_running_their_most()),
        )
        .order_by(Job.priority.desc(), Job.queued_at, Job.id)
    )


def lock_next(session: Session, gpus: int, now: datetime) -> Job | None:
    """Lock the first job that a worker of so many GPUs may run, or return None.

    A job of a project that runs as many as it may is passed over; it holds up no other project's.
    """
    small_enough = or_(Job.gpus.is_(None), Job.gpus <= gpus)
    query = due(now).where(small_enough).limit(1).with_for_update(skip_locked=True)
    passed_over: set[str] = set()
    while True:
        job = session.scalar(query.where(Job.project_id.not_in(passed_over)))
        # Asked again under a lock: since the query began, others may have claimed the last place.
        if job is None or may_run_another(session, job.project_id):
            return job
        passed_over.add(job.project_id)
