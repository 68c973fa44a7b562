"""The parts that the API works with, opened once per process."""

from dataclasses import dataclass

from app.db.session import Database
from app.metrics import Metrics
from app.queue import Queue
from app.storage import Storage
from app.tracing import Tracing


@dataclass(frozen=True)
class Parts:
    database: Database
    storage: Storage
    queue: Queue
    pepper: bytes
    """The secret that API keys are hashed under."""
    metrics: Metrics
    tracing: Tracing

    def close(self) -> None:
        self.queue.close()
        self.database.close()
        self.tracing.close()
