"""What the API process counts for Prometheus; a job's id is never a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

METHODS = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}
OTHER = "other"
"""A method or path that no route has: what strangers send must not become labels."""


class Metrics:
    """The figures of one process, and the registry that Prometheus reads them from."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "stillhouse_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "stillhouse_http_request_duration_seconds",
            "From a request's first byte to its answer's last.",
            ["method", "route"],
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "stillhouse_http_requests_in_progress",
            "Requests that are being answered.",
            registry=self.registry,
        )

    def answered(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; ``route`` is the path of the route that took it, where one did."""
        names = (method if method in METHODS else OTHER, route or OTHER)
        self._requests.labels(*names, str(status)).inc()
        self._durations.labels(*names).observe(seconds)
