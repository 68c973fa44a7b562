"""A run finds fault with a service that has faults, and its share of requests is as asked for."""

import json

import pytest
from httpx2 import Response

from app.problems import MEDIA_TYPE, ErrorSummary, ProblemBody
from tests.conformance.hostile import BODIES, wrong_with
from tests.conformance.outcome import Outcome

PROBLEM = ProblemBody(
    type="urn:stillhouse:problem:bad_request",
    title="The request is not valid",
    status=400,
    detail="given 1",
    instance="/",
    request_id="1",
    errors=[],
    error=ErrorSummary(message="given 1", type="invalid_request_error", code="x", param=None),
).model_dump()


def answer(code: int, media_type: str = MEDIA_TYPE, **changes: object) -> Response:
    content = json.dumps({**PROBLEM, **changes}).encode()
    return Response(code, headers={"Content-Type": media_type}, content=content)


def test_success_and_a_whole_problem_are_good() -> None:
    assert wrong_with(answer(400)) is None
    assert wrong_with(Response(201, content=b"{}")) is None


@pytest.mark.parametrize(
    "bad",
    [
        answer(500, status=500),
        answer(422),
        answer(400, "application/json"),
        answer(400, detail=None),
        Response(400, headers={"Content-Type": MEDIA_TYPE}, content=b"Bad Request"),
    ],
    ids=["5xx", "another status", "another media type", "no detail", "no problem"],
)
def test_any_other_answer_to_what_is_hostile_is_wrong(bad: Response) -> None:
    assert wrong_with(bad)


def test_an_outcome_counts_by_operation_and_class() -> None:
    outcome = Outcome()
    for status in (200, 201, 404, 503):
        outcome.count("GET /x", status)
    outcome.complain("GET /x: Server error", "503")
    (line,) = (line for line in outcome.table().splitlines() if line.startswith("GET /x"))
    assert line.split()[2:] == ["2", "0", "1", "1"]
    assert "WRONG: GET /x: Server error" in outcome.table()


def test_the_hostile_bodies_are_of_each_kind_once() -> None:
    assert len(set(BODIES.values())) == len(BODIES)
