"""What a worker counts for Prometheus, and the trace of each attempt for OpenTelemetry."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIServer

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from prometheus_client import Counter, Gauge, Histogram, start_http_server
from structlog import get_logger

from app.contracts.message import AnyMessage, PhaseFinished, PhaseStarted, ProgressMade
from app.db.models import Job

log = get_logger(__name__)

HOUR, DAY = 3600, 86_400
BUCKETS = (1, 10, 60, 600, HOUR, 4 * HOUR, 12 * HOUR, DAY, 3 * DAY, 7 * DAY)
LOST = "lost"
"""An attempt that could not write its end: the job is another's by now."""

BUSY = Gauge("stillhouse_worker_busy", "1 while an attempt is under way.")
ATTEMPTS = Counter("stillhouse_attempts", "Attempts that have ended.", ["outcome"])
ATTEMPT_SECONDS = Histogram(
    "stillhouse_attempt_duration_seconds", "From claim to end.", ["outcome"], buckets=BUCKETS
)
PHASE_SECONDS = Histogram(
    "stillhouse_phase_duration_seconds", "Of phases that were run.", ["phase"], buckets=BUCKETS
)
EXAMPLES = Gauge("stillhouse_training_examples_per_second", "As the trainer last said.")
CHECKPOINTS = Counter("stillhouse_checkpoints", "Checkpoints offered, by their fate.", ["outcome"])
CHECKPOINT_SECONDS = Histogram(
    "stillhouse_checkpoint_store_duration_seconds", "To store and commit a checkpoint."
)
RENEWALS = Counter("stillhouse_lease_renewals", "Renewals of leases, by their fate.", ["outcome"])


def serve_metrics(address: str, port: int) -> WSGIServer | None:
    """Let Prometheus ask this process; a port that is taken costs the figures, not the worker."""
    try:
        server, _ = start_http_server(port, address)
    except OSError as error:
        log.warning("metrics_not_served", address=address, port=port, reason=str(error))
        return None
    return server


class Observation:
    """One attempt as Prometheus and OpenTelemetry see it."""

    def __init__(self, tracer: Tracer) -> None:
        self.outcome = LOST
        """The status that its end gave the job; `queued` where it is tried again."""
        self._tracer = tracer
        self._phase: Span | None = None
        self._phase_began = 0.0

    def hear(self, message: AnyMessage) -> None:
        """Take note of what the trainer says."""
        match message:
            case PhaseStarted():
                self._end_phase()
                self._phase = self._tracer.start_span(f"phase {message.phase}")
                self._phase_began = time.monotonic()
            case PhaseFinished():
                self._end_phase()
                if not (message.skipped or message.restored):
                    seconds = time.monotonic() - self._phase_began
                    PHASE_SECONDS.labels(message.phase).observe(seconds)
            case ProgressMade() if message.progress.examples_per_second is not None:
                EXAMPLES.set(message.progress.examples_per_second)

    def _end_phase(self) -> None:
        if self._phase is not None:
            self._phase.end()
        self._phase = None

    @contextmanager
    def around(self, job: Job) -> Iterator[None]:
        """Count and trace an attempt, as a part of the request that posted its job."""
        began = time.monotonic()
        parent = extract({"traceparent": job.traceparent or ""})
        names: dict[str, str | int] = {
            "job.id": job.id,
            "job.fence": job.fence,
            "job.attempt": job.attempt,
        }
        span = self._tracer.start_span("attempt", parent, attributes=names)
        BUSY.set(1)
        try:
            with trace.use_span(span):
                yield
        finally:
            self._end_phase()
            span.set_attribute("job.outcome", self.outcome)
            if self.outcome == LOST:
                span.set_status(Status(StatusCode.ERROR))
            span.end()
            BUSY.set(0)
            EXAMPLES.set(0)
            ATTEMPTS.labels(self.outcome).inc()
            ATTEMPT_SECONDS.labels(self.outcome).observe(time.monotonic() - began)
