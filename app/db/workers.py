"""Which workers are there: each says so now and then."""

from datetime import timedelta

from sqlalchemy import delete

from app.db.models import Worker
from app.db.session import Database, database_now

FORGOTTEN_AFTER = timedelta(days=1)


def see(database: Database, worker_id: str, hostname: str, gpus: int) -> None:
    """Note that a worker is there now, and forget those unseen for long."""
    with database.write() as session:
        now = database_now(session)
        session.execute(delete(Worker).where(Worker.seen_at < now - FORGOTTEN_AFTER))
        worker = session.get(Worker, worker_id)
        if worker is None:
            worker = Worker(id=worker_id, hostname=hostname, gpus=gpus, started_at=now)
            session.add(worker)
        worker.seen_at = now


def leave(database: Database, worker_id: str) -> None:
    """Note that a worker has gone."""
    with database.write() as session:
        session.execute(delete(Worker).where(Worker.id == worker_id))
