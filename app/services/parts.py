"""The parts that the API works with, opened once per process."""

from dataclasses import dataclass

from app.db.session import Database
from app.metrics import Metrics
from app.outbound.targets import Networks
from app.predictor import Predictor
from app.queue import Queue
from app.storage import Storage
from app.tracing import Tracing


@dataclass(frozen=True)
class Parts:
    database: Database
    storage: Storage
    queue: Queue
    pepper: bytes
    """The secret that API keys are hashed under, and webhooks' secrets made from."""
    webhook_networks: Networks
    """Beside the public ones, those that webhooks may be sent to."""
    metrics: Metrics
    tracing: Tracing
    predictor: Predictor

    def close(self) -> None:
        self.predictor.close()
        self.queue.close()
        self.database.close()
        self.tracing.close()
