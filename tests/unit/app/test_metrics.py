"""What Prometheus is told: names that its own parser takes, and no strangers' words as labels."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import text

from app.db import workers
from tests.unit.app.conftest import JOBS, Api

UNITS = ("_seconds", "_bytes", "_info")


def samples(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = api.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_never_by_what_strangers_send(api: Api) -> None:
    job_id = api.post_job()["id"]
    for path in (f"{JOBS}/{job_id}", f"{JOBS}/distjob-none", "/no/such/path"):
        api.client.get(path)
    api.client.request("BREW", "/healthz")

    found = samples(api)

    def count(method: str, route: str, status: str) -> float:
        labels = (("method", method), ("route", route), ("status", status))
        return found["stillhouse_http_requests_total", labels]

    assert count("POST", JOBS, "201") == 1
    assert count("GET", f"{JOBS}/{{job_id}}", "200") == 1
    assert count("GET", f"{JOBS}/{{job_id}}", "404") == 1
    assert count("GET", "other", "404") == 1
    assert count("other", "/healthz", "405") == 1
    assert not [labels for _, labels in found if job_id in str(labels)]
    durations = (("method", "POST"), ("route", JOBS))
    assert found["stillhouse_http_request_duration_seconds_count", durations] == 1


def test_the_installation_s_jobs_and_workers_are_told(api: Api) -> None:
    api.post_job()
    api.post_job()
    api.claim()
    workers.see(api.database, "worker-1", "host", 1)

    found = samples(api)

    assert found["stillhouse_jobs", (("status", "queued"),)] == 1
    assert found["stillhouse_jobs", (("status", "running"),)] == 1
    assert found["stillhouse_jobs", (("status", "failed"),)] == 0
    assert found["stillhouse_workers", ()] == found["stillhouse_worker_gpus", ()] == 1
    assert found["stillhouse_longest_wait_seconds", ()] >= 0
    assert found["stillhouse_database_up", ()] == 1
    assert found["process_resident_memory_bytes", ()] > 0


def test_without_its_database_the_process_s_own_figures_are_told(api: Api) -> None:
    with api.database.write() as session:
        session.execute(text("ALTER TABLE jobs RENAME TO gone"))

    found = samples(api)

    assert found["stillhouse_database_up", ()] == 0
    assert ("stillhouse_jobs", (("status", "queued"),)) not in found


def test_names_follow_prometheus_and_openmetrics_is_given_where_it_is_asked_for(api: Api) -> None:
    api.post_job()
    answer = api.client.get(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = list(open_metrics(answer.text))  # type: ignore[no-untyped-call]  # its own lack
    ours = [family for family in families if family.name.startswith("stillhouse_")]
    assert len(ours) >= 7
    for family in ours:
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith(UNITS)
        labels = {name for sample in family.samples for name in sample.labels}
        assert labels <= {"method", "route", "status", "le"}


def test_the_figures_need_an_admin_s_key(api: Api) -> None:
    refused = api.client.get("/metrics", headers=api.key("jobs:read"))

    assert refused.status_code == 403
