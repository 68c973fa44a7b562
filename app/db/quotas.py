"""Quotas: the most that a project may have of something, and what workers must know of them."""

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Select, String, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.contracts.job import Status
from app.db.models import Job
from app.db.table import Table, one_of


class QuotaName(StrEnum):
    QUEUED_JOBS = "queued_jobs"
    RUNNING_JOBS = "running_jobs"
    STORED_BYTES = "stored_bytes"


class Quota(Table):
    """The most that a project may have of one thing; where there is no row, there is no limit.

    A row of its own, so that those who lock it to count wait for nobody else.
    """

    __tablename__ = "quotas"

    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[QuotaName] = mapped_column(String(32), primary_key=True)
    most: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        CheckConstraint(one_of("name", list(QuotaName)), "name"),
        CheckConstraint("most >= 0", "most"),
    )


def projects_running_their_most() -> Select[str]:
    """Select the projects of which no further job may run now."""
    running = (
        select(func.count())
        .where(Job.project_id == Quota.project_id, Job.status == Status.RUNNING)
        .correlate(Quota)
        .scalar_subquery()
    )
    return select(Quota.project_id).where(
        Quota.name == QuotaName.RUNNING_JOBS, running >= Quota.most
    )


def may_run_another(session: Session, project_id: str) -> bool:
    """Tell whether one more job of a project may run, and keep that true for this transaction.

    Also no where another worker is claiming a job of the project at this moment: one that was
    halted while it did must not keep the others from the jobs of other projects.
    """
    quota = (project_id, QuotaName.RUNNING_JOBS)
    if session.get(Quota, quota, populate_existing=True) is None:
        return True
    most = session.scalar(
        select(Quota.most)
        .where(Quota.project_id == project_id, Quota.name == QuotaName.RUNNING_JOBS)
        .with_for_update(skip_locked=True)
    )
    return most is not None and count_jobs(session, project_id, Status.RUNNING) < most


def count_jobs(session: Session, project_id: str, status: Status) -> int:
    query = select(func.count()).where(Job.project_id == project_id, Job.status == status)
    return session.scalars(query).one()
