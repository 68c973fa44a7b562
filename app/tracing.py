"""OpenTelemetry's traces, sent where its own variables say; without them nothing is traced."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.trace import NoOpTracerProvider, TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True)
class Tracing:
    """What makes spans in one process; ``close`` sends the last of them."""

    provider: TracerProvider
    close: Callable[[], None]


def open_tracing(service: str) -> Tracing:
    """Begin to trace; ``service`` is its name where ``OTEL_SERVICE_NAME`` gives no other."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return Tracing(NoOpTracerProvider(), lambda: None)
    # Imported where it is used: most installations never do, and it takes a while to load.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk import trace  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = os.environ.get("OTEL_SERVICE_NAME", service)
    provider = trace.TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider, provider.shutdown)
