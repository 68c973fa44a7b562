"""Which workers are there, and what waits for them."""

from typing import get_args

from sqlalchemy import func, select

from app.contracts.installation import QueueState, Worker
from app.contracts.job import Status, WaitingReason
from app.contracts.registry import Page
from app.db.models import Job
from app.db.models import Worker as WorkerRow
from app.db.session import Database, database_now
from app.services.ownership import ends, owned
from app.services.surroundings import SILENT_AFTER, look_around

REASONS: tuple[WaitingReason, ...] = get_args(WaitingReason)


def list_workers(database: Database, project_id: str) -> Page[Worker]:
    """List the workers of the whole installation; other projects' jobs are not named."""
    with database.read() as session:
        now = database_now(session)
        rows = session.scalars(select(WorkerRow).order_by(WorkerRow.hostname, WorkerRow.id)).all()
        running = select(Job.worker_id, Job.id, Job.project_id).where(Job.status == Status.RUNNING)
        jobs = {worker_id: (job_id, owner) for worker_id, job_id, owner in session.execute(running)}
    data = []
    for row in rows:
        job_id, owner = jobs.get(row.id, (None, None))
        data.append(
            Worker(
                id=row.id,
                hostname=row.hostname,
                gpus=row.gpus,
                started_at=row.started_at,
                seen_at=row.seen_at,
                is_there=row.seen_at > now - SILENT_AFTER,
                is_busy=job_id is not None,
                job_id=job_id if owner == project_id else None,
            )
        )
    return Page[Worker](data=data, has_more=False, **ends([worker.id for worker in data]))


def read_queue(database: Database, project_id: str) -> QueueState:
    """Count a project's jobs by status, and those that wait by the reason why."""
    jobs = dict.fromkeys(Status, 0)
    waiting = dict.fromkeys(REASONS, 0)
    with database.read() as session:
        around = look_around(session, project_id)
        mine = owned(Job, project_id)
        counts = mine.with_only_columns(Job.status, func.count()).group_by(Job.status)
        for status, number in session.execute(counts):
            jobs[Status(status)] = number
        queued = mine.where(Job.status == Status.QUEUED)
        early = (Job.not_before > around.now).label("early")
        kinds = queued.with_only_columns(Job.gpus, early).subquery().c
        grouped = select(kinds.gpus, kinds.early, func.count()).group_by(kinds.gpus, kinds.early)
        for gpus, is_early, number in session.execute(grouped):
            waiting[around.waiting_reason(gpus, is_early=bool(is_early))] += number
        oldest = session.scalar(queued.with_only_columns(func.min(Job.queued_at)))
    return QueueState(jobs=jobs, waiting=waiting, oldest_queued_at=oldest)
