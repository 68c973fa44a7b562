"""The whole installation in figures, for those who run it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.contracts.job import Status
from app.db.models import Job, Worker
from app.db.session import Database, DatabaseClock, database_now
from app.services.surroundings import SILENT_AFTER


class Figures(Collector):
    """Reads the database when Prometheus asks: any API process gives the same answer."""

    def __init__(self, database: Database, registry: CollectorRegistry) -> None:
        self._database = database
        registry.register(self)

    def describe(self) -> list[Metric]:
        """Say, when it is registered, that nothing is known yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("stillhouse_database_up", "Whether the database answers.")
        try:
            with self._database.read() as session:
                yield from [*_jobs(session), *_workers(session)]
        except SQLAlchemyError:
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        yield up


def _jobs(session: Session) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("stillhouse_jobs", "Jobs by status.", labels=["status"])
    query = select(Job.status, func.count()).group_by(Job.status)
    counts = {str(status): count for status, count in session.execute(query)}
    for status in Status:
        jobs.add_metric([status], counts.get(status, 0))
    yield jobs
    oldest = session.scalar(select(func.min(Job.queued_at)).where(Job.status == Status.QUEUED))
    waited = (database_now(session) - oldest).total_seconds() if oldest else 0
    yield GaugeMetricFamily(
        "stillhouse_longest_wait_seconds",
        "How long the job that waits longest has been queued.",
        value=max(waited, 0),
    )


def _workers(session: Session) -> Iterator[Metric]:
    there = Worker.seen_at > DatabaseClock(SILENT_AFTER)
    query = select(func.count(), func.coalesce(func.sum(Worker.gpus), 0)).where(there)
    workers, gpus = session.execute(query).one()
    yield GaugeMetricFamily("stillhouse_workers", "Workers that are there.", value=workers)
    yield GaugeMetricFamily("stillhouse_worker_gpus", "GPUs of those workers.", value=gpus)
