"""A job's report over HTTP: as data, and as a page that can do nothing."""

import pytest

from tests.unit.app.conftest import JOBS, Api

PAGE = "<!doctype html><title>caf\u00e9</title>".encode()
FILES = {"report.json": b'{"task":"classification"}', "report.html": PAGE}


def test_a_report_is_read_as_data_and_seen_as_a_page(api: Api) -> None:
    job_id = api.post_job()["id"]
    api.succeed(api.claim(), FILES)

    data = api.client.get(f"{JOBS}/{job_id}/report")
    page = api.client.get(f"{JOBS}/{job_id}/report.html")

    assert (data.status_code, data.json()) == (200, {"task": "classification"})
    assert (page.status_code, page.content) == (200, PAGE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_the_page_may_load_and_run_nothing(api: Api) -> None:
    job_id = api.post_job()["id"]
    api.succeed(api.claim(), FILES)

    headers = api.client.get(f"{JOBS}/{job_id}/report.html").headers

    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"} <= set(policy)
    assert {"sandbox", "base-uri 'none'", "form-action 'none'"} <= set(policy)
    assert not any(each.startswith("script-src") for each in policy)
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("form", ["report", "report.html"])
def test_a_job_that_has_not_succeeded_has_no_report(api: Api, form: str) -> None:
    job_id = api.post_job()["id"]

    answer = api.client.get(f"{JOBS}/{job_id}/{form}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "wrong_state")
    assert "queued" in answer.json()["error"]["message"]


@pytest.mark.parametrize("form", ["report", "report.html"])
def test_a_report_is_its_projects_own(api: Api, form: str) -> None:
    job_id = api.post_job()["id"]
    api.succeed(api.claim(), FILES)

    other = api.key("jobs:read", project="other")

    assert api.client.get(f"{JOBS}/{job_id}/{form}", headers=other).status_code == 404
