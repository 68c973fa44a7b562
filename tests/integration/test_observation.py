"""One trace from the request to the trainer's phases, and a worker's figures."""

import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families as parse

from app.config import Settings
from app.contracts.job import Phase
from app.tracing import open_tracing
from tests.jobs import SPEC
from tests.unit.app.served import serve
from worker.observation import serve_metrics
from worker.supervisor import Supervisor

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
JOBS = "/v1/distillation/jobs"


class Collector:
    """What an OpenTelemetry collector does: takes spans over HTTP."""

    def __init__(self) -> None:
        self.spans: dict[str, list[tuple[str, Span]]] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(span.name, []).append((names["service.name"], span))

    def only(self, name: str) -> Span:
        ((_, span),) = self.spans[name]
        return span

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    collector.close()


def run_a_job(url: str, key_file: Path, folder: Path) -> str:
    """Post a job as a part of a client's trace, and let a worker rehearse it."""
    tracing = open_tracing("stillhouse-worker")
    tracer = tracing.provider.get_tracer("tests")
    settings = Settings(
        database_url=f"sqlite:///{folder}/test.db",
        storage_url=str(folder / "blobs"),
        work_folder=folder / "work",
        trainer="worker.rehearsal",
        renew_seconds=0.1,
    )
    headers = {
        "Authorization": f"Bearer {key_file.read_text()}",
        "traceparent": f"00-{TRACE_ID}-{CLIENT_SPAN}-01",
    }
    answer = httpx2.post(url + JOBS, json=SPEC.model_dump(mode="json"), headers=headers)
    assert answer.status_code == 201, answer.text
    supervisor = Supervisor(settings, "worker-1", 0, lambda: False, tracer)
    try:
        assert supervisor.run_next()
    finally:
        supervisor.close()
        tracing.close()
    job_id: str = answer.json()["id"]
    assert httpx2.get(f"{url}{JOBS}/{job_id}", headers=headers).json()["status"] == "succeeded"
    return job_id


def test_a_job_is_one_trace_from_its_request_to_the_phases_of_its_trainer(
    collector: Collector, tmp_path: Path
) -> None:
    with serve(tmp_path) as served:
        job_id = run_a_job(served.url, served.key_file, tmp_path)

    # The API sends what it has when it ends.
    request = collector.only(f"POST {JOBS}")
    assert request.trace_id.hex() == TRACE_ID
    assert request.parent_span_id.hex() == CLIENT_SPAN
    attempt = collector.only("attempt")
    assert attempt.trace_id.hex() == TRACE_ID
    assert attempt.parent_span_id == request.span_id
    said = {one.key: one.value.string_value for one in attempt.attributes}
    assert said["job.id"] == job_id
    assert said["job.outcome"] == "succeeded"
    student = collector.only(f"phase {Phase.TRAINING_STUDENT}")
    assert student.parent_span_id == attempt.span_id
    assert attempt.start_time_unix_nano <= student.start_time_unix_nano
    assert student.end_time_unix_nano <= attempt.end_time_unix_nano
    services = {name for spans in collector.spans.values() for name, _ in spans}
    assert services == {"stillhouse-api", "stillhouse-worker"}


def test_a_worker_s_figures_can_be_read(tmp_path: Path) -> None:
    server = serve_metrics("127.0.0.1", 0)
    assert server is not None
    with serve(tmp_path) as served:
        run_a_job(served.url, served.key_file, tmp_path)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
        families = list(parse(answer.read().decode()))
    server.shutdown()
    server.server_close()

    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert values["stillhouse_attempts_total", "succeeded"] >= 1
    assert values["stillhouse_attempt_duration_seconds_count", "succeeded"] >= 1
    assert values["stillhouse_phase_duration_seconds_count", Phase.TRAINING_STUDENT] >= 1
    assert values["stillhouse_lease_renewals_total", "renewed"] >= 1
    assert values["stillhouse_checkpoints_total", "kept"] >= 1
    assert values["stillhouse_worker_busy",] == 0


def test_a_port_that_is_taken_costs_a_worker_no_more_than_its_figures() -> None:
    first = serve_metrics("127.0.0.1", 0)
    assert first is not None
    try:
        assert serve_metrics("127.0.0.1", first.server_port) is None
    finally:
        first.shutdown()
        first.server_close()
