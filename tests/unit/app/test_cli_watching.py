"""Following a job while the service, or a proxy before it, is away now and then."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from app.cli.client import WATCH_SECONDS, Refused, Service
from app.cli.jobs import follow
from app.contracts.job import Job, Status
from tests.unit.app.test_cli_progress import running_job

RUNNING = running_job()
ENDED = RUNNING.model_copy(update={"status": Status.SUCCEEDED})


@dataclass
class Clock:
    """Time that passes only where someone sleeps."""

    now: float = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("app.cli.client.time", made)
    return made


Answer = httpx2.Response | httpx2.TransportError


def service(answers: Iterator[Answer]) -> Service:
    def answer(_: httpx2.Request) -> httpx2.Response:
        given = next(answers)
        if isinstance(given, httpx2.TransportError):
            raise given
        return given

    return Service(httpx2.Client(transport=httpx2.MockTransport(answer), base_url="http://none"))


def has(job: Job) -> httpx2.Response:
    return httpx2.Response(200, content=job.model_dump_json())


def away(status: int, retry_after: str | None = None) -> httpx2.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx2.Response(status, headers=headers, text="away")


def test_a_job_is_followed_to_its_end_though_the_service_is_away_at_first_and_later(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Answer] = [
        away(503),
        httpx2.ConnectError("refused"),
        away(502),
        has(RUNNING),
        away(429, "7"),
        away(504, "soon"),
        has(ENDED),
    ]
    assert follow(service(iter(answers)), "distjob-1", as_json=True) == ENDED
    # After each answer but the last, and for as long as one of them asked for.
    assert clock.now == 5 * WATCH_SECONDS + 7
    assert capsys.readouterr().err.count("asked again for a minute") == 2


def test_a_service_that_stays_away_for_a_minute_is_given_up_with_its_reason(clock: Clock) -> None:
    def for_ever(retry_after: str | None) -> Iterator[Answer]:
        while True:
            yield away(503, retry_after)

    for retry_after, most_seconds in ((None, 62), ("0", 62), ("100000", 120)):
        began = clock.now
        with pytest.raises(Refused, match="503"):
            next(service(for_ever(retry_after)).watch("distjob-1"))
        assert 60 < clock.now - began <= most_seconds


def test_what_is_refused_for_good_is_not_asked_for_again(clock: Clock) -> None:
    with pytest.raises(Refused, match="404"):
        next(service(iter([away(404)])).watch("distjob-1"))
    assert clock.now == 0


def test_an_address_that_no_service_can_have_is_not_asked_again(clock: Clock) -> None:
    with pytest.raises(httpx2.UnsupportedProtocol):
        next(service(iter([httpx2.UnsupportedProtocol("given none")])).watch("distjob-1"))
    assert clock.now == 0
