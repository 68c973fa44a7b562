"""What is around a project's jobs, and so why those wait that are queued."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.contracts.job import WaitingReason
from app.db.models import Worker
from app.db.quotas import Quota, QuotaName, projects_running_their_most
from app.db.session import DatabaseClock

SILENT_AFTER = timedelta(seconds=60)
"""A worker says that it is there every 10 s; one silent for so long is taken for gone."""


@dataclass(frozen=True)
class Surroundings:
    """What was there for a project's jobs at a moment."""

    now: datetime
    most_gpus: int | None
    """Of the largest worker that is there; None where none is."""
    is_full: bool
    """Whether the project runs as many jobs as it may."""
    most_queued_jobs: int | None
    most_stored_bytes: int | None
    """What the project may have; None where it may have any number."""

    def waiting_reason(self, gpus: int | None, *, is_early: bool) -> WaitingReason:
        """Say why a queued job waits that asks for ``gpus``; early is one in its backoff."""
        if is_early:
            return "backoff"
        if self.is_full:
            return "quota"
        if self.most_gpus is None or self.most_gpus < (gpus or 0):
            return "no_worker"
        return "capacity"


# Built once: making a statement takes longer than the database needs for it.
_PROJECT_ID = "project_id"
_THERE = Worker.seen_at > DatabaseClock(SILENT_AFTER)
_FULL = projects_running_their_most().where(Quota.project_id == bindparam(_PROJECT_ID))
_QUOTAS = [
    select(Quota.most)
    .where(Quota.project_id == bindparam(_PROJECT_ID), Quota.name == name)
    .scalar_subquery()
    for name in (QuotaName.QUEUED_JOBS, QuotaName.STORED_BYTES)
]
_AROUND = select(
    DatabaseClock(),
    select(func.max(Worker.gpus)).where(_THERE).scalar_subquery(),
    _FULL.exists(),
    *_QUOTAS,
)


def look_around(session: Session, project_id: str) -> Surroundings:
    """Read what is around a project's jobs, in one journey to the database."""
    return Surroundings(*session.execute(_AROUND, {_PROJECT_ID: project_id}).one())
