"""Every failure answers with the one body."""

import errno
import json
from typing import NoReturn

import pytest
from obstore.exceptions import BaseError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.hardening import HEADERS, HSTS
from app.problems import ProblemBody
from app.services import jobs
from tests.unit.app.conftest import JOBS, Api


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", f"{JOBS}/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("PUT", JOBS, 405, "method_not_allowed"),
        ("OPTIONS", JOBS, 405, "method_not_allowed"),
        ("GET", f"{JOBS}/x", 404, "not_found"),
        ("GET", f"{JOBS}?limit=0", 400, "bad_request"),
        ("GET", f"{JOBS}?status=done", 400, "bad_request"),
        ("POST", JOBS, 422, "invalid_payload"),
    ],
)
def test_what_a_client_got_wrong_has_one_shape(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = api.client.request(method, path)
    body = ProblemBody.model_validate_json(answer.content)
    assert answer.status_code == body.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["X-Request-Id"] == body.request_id
    assert body.instance == path.partition("?")[0]
    assert body.error.code == code
    assert body.type.endswith(code)
    assert body.error.message == body.detail


def test_a_query_parameter_is_named_with_what_was_given_and_the_nearest_name(api: Api) -> None:
    body = api.client.get(f"{JOBS}?status=runing").json()
    assert body["error"]["param"] == "status"
    assert 'given "runing"' in body["detail"]
    assert "perhaps 'running'" in body["detail"]


@pytest.mark.parametrize("number", ["9" * 30, "-1", "x", "1.5"])
def test_an_odd_number_in_a_query_is_400(api: Api, number: str) -> None:
    job = api.post_job()
    for path in ("events?after", "events?limit", "metrics?step_from", "logs?tail"):
        assert api.client.get(f"{JOBS}/{job['id']}/{path}={number}").status_code == 400


def test_a_wrong_method_is_told_all_the_right_ones(api: Api) -> None:
    assert api.client.put("/v1/files").headers["Allow"] == "GET, POST"
    assert api.client.put("/v1/files/x/content").headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT secret", {}, Exception("refused")),
        InterfaceError("SELECT secret", {}, Exception("closed")),
        PoolTimeoutError("QueuePool limit"),
        BaseError("no answer from secret"),
        OSError(errno.ENOSPC, "No space left on device", "secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_part_that_is_away_or_full_is_503_and_worth_another_try(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _break(monkeypatch, error)
    answer = api.client.get(f"{JOBS}/x")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "x-should-retry" not in answer.headers
    assert "secret" not in answer.text
    assert ProblemBody.model_validate_json(answer.content).error.type == "server_error"


@pytest.mark.parametrize("kind", [RuntimeError, OSError])
def test_an_unexpected_failure_is_500_without_its_inside_which_the_log_has(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[Exception],
) -> None:
    _break(monkeypatch, kind("the inside"))
    capsys.readouterr()
    answer = api.client.get(f"{JOBS}/x", headers={"X-Request-Id": "abc"})
    assert answer.status_code == 500
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "the inside" not in answer.text
    assert answer.headers["X-Request-Id"] == "abc"
    ProblemBody.model_validate_json(answer.content)
    log = capsys.readouterr().err
    lines = [json.loads(line) for line in log.splitlines()]
    failure = next(line for line in lines if line["event"] == "unexpected_error")
    assert failure["request_id"] == "abc"
    assert failure["exception"][0]["exc_value"] == "the inside"
    secret = str(api.client.headers["Authorization"]).removeprefix("Bearer ")
    assert secret[:40] not in log


def test_a_sane_request_id_is_kept_and_any_other_replaced(api: Api) -> None:
    def answered(sent: str) -> str:
        return api.client.get("/healthz", headers={"X-Request-Id": sent}).headers["X-Request-Id"]

    assert answered("trace-1.a_B") == "trace-1.a_B"
    for odd in ("", "a b", "x" * 129, '"<script>'):
        assert answered(odd) not in {odd, ""}


def test_every_request_is_one_line_of_json_in_the_log(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    api.client.get(f"{JOBS}/x?wait=0.25", headers={"X-Request-Id": "abc"})
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["status"], line["request_id"]) == ("request", 404, "abc")
    assert (line["method"], line["path"]) == ("GET", f"{JOBS}/x")


def _break(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(jobs, "read", fail)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", JOBS, 200),
        ("GET", f"{JOBS}/x", 404),
        ("GET", "/nothing", 404),
        ("PUT", JOBS, 405),
        ("GET", "/healthz", 200),
        ("POST", JOBS, 422),
    ],
)
def test_every_answer_tells_browsers_to_be_careful(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = api.client.request(method, path)

    assert answer.status_code == status
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "Strict-Transport-Security" not in answer.headers


def test_over_tls_a_browser_is_told_to_stay_there(api: Api) -> None:
    answer = api.client.get(f"https://testserver{JOBS}")
    assert answer.headers["Strict-Transport-Security"] == HSTS


def test_what_has_an_entity_tag_may_be_kept_to_ask_about_it(api: Api) -> None:
    job = api.post_job()
    answer = api.client.get(f"{JOBS}/{job['id']}")
    assert answer.headers["ETag"]
    assert answer.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("method", "shows_a_key", "status"), [("TRACE", True, 405), ("POST", False, 401)]
)
def test_what_is_not_taken_is_told_before_what_is_wrong_with_its_body(
    api: Api,
    method: str,
    *,
    shows_a_key: bool,
    status: int,
) -> None:
    if not shows_a_key:
        del api.client.headers["Authorization"]
    answer = api.client.request(method, JOBS, content=b'{"a": NaN}')
    assert answer.status_code == status, answer.text


def test_the_document_has_no_null_in_an_address_or_header(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    schemas = [
        parameter["schema"]
        for path in paths.values()
        for operation in path.values()
        for parameter in operation.get("parameters", ())
    ]
    assert schemas
    assert not [schema for schema in schemas if {"type": "null"} in schema.get("anyOf", ())]
