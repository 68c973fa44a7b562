"""A job's events as they happen, over real HTTP where connections are cut."""

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from app import keyring
from app.db import verbs
from app.db.lifecycle import Event
from app.errors import NotFound
from app.routes import event_stream
from app.services import history
from app.services.keys import Identity, revoke_key
from app.services.watching import Watcher
from app.waiting import watcher
from tests.jobs import SPEC
from tests.unit.app.conftest import JOBS, Api
from tests.unit.app.served import Served, serve

RECONNECTS = 1000
BATCHES, BATCH = 60, 25


def parse(text: str) -> list[dict[str, str]]:
    """Read whole messages, as an EventSource does; what a cut left in pieces is dropped."""
    messages = []
    for block in text.split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if lines:
            messages.append(dict(line.split(": ", 1) for line in lines))
    return messages


def test_a_stream_gives_all_events_then_done_and_ends(api: Api) -> None:
    job_id = api.post_job()["id"]
    path = f"{JOBS}/{job_id}/events"
    api.client.post(f"{JOBS}/{job_id}/cancel")
    answer = api.client.get(f"{path}/stream")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-cache"
    *events, done = parse(answer.text)
    assert [json.loads(event["data"]) for event in events] == api.client.get(path).json()["data"]
    assert [event["id"] for event in events] == ["1", "2"]
    assert done == {"event": "done", "data": '{"status":"cancelled"}'}


@pytest.mark.parametrize(
    ("query", "headers", "first"),
    [
        ("", {"Last-Event-ID": "1"}, "2"),
        ("?last_event_id=1", {}, "2"),
        ("?last_event_id=0", {"Last-Event-ID": "1"}, "2"),
        ("", {"Last-Event-ID": "2"}, None),
    ],
)
def test_a_stream_goes_on_after_the_last_event_known(
    api: Api, query: str, headers: dict[str, str], first: str | None
) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    api.client.post(f"{path}/cancel")
    messages = parse(api.client.get(f"{path}/events/stream{query}", headers=headers).text)
    assert messages[0].get("id") == first
    assert messages[-1]["event"] == "done"


def test_an_odd_last_event_is_400(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}/events/stream"
    for odd in ("x", "-1", "99999999999"):
        answer = api.client.get(path, headers={"Last-Event-ID": odd})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Last-Event-ID")


class Always:
    """A watcher for whom the job has always changed."""

    async def wait(self, _job_id: str, _version: int, _seconds: float) -> bool:
        return True


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (OperationalError("SELECT 1", {}, Exception("away")), None),
        (NotFound("deleted"), '{"status":"deleted"}'),
    ],
)
def test_a_stream_is_cut_where_the_database_goes_and_done_where_the_job_goes(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, end: str | None
) -> None:
    job_id = api.post_job()["id"]
    first = history.follow_events(
        api.database, api.client.get("/v1/api_keys").json()["data"][0]["project_id"], job_id, 0
    )
    answers = iter([first])

    def follow(*_: object) -> history.Followed:
        answer = next(answers, None)
        if answer is None:
            raise error
        return answer

    monkeypatch.setattr(history, "follow_events", follow)
    api.app.dependency_overrides[watcher] = Always
    answer = api.client.get(f"{JOBS}/{job_id}/events/stream")
    assert answer.status_code == 200
    messages = parse(answer.text)
    assert messages[0]["id"] == "1"
    assert [message["data"] for message in messages[1:]] == ([end] if end else [])


def test_a_stream_whose_key_is_revoked_ends_before_the_next_event(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    key = short_lived(api)
    with ThreadPoolExecutor(1) as pool, watched(api) as begun:
        streamed = pool.submit(api.client.get, f"{path}/events/stream", headers=bearer(key))
        assert begun.wait(60)
        api.client.delete(f"/v1/api_keys/{key['id']}")
        api.client.post(f"{path}/cancel")
        messages = parse(streamed.result(60).text)
    assert [message["id"] for message in messages] == ["1"]


def test_a_quiet_stream_ends_soon_after_its_key_has_been_revoked_elsewhere(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEY_SECONDS", 0.1)
    path = f"{JOBS}/{api.post_job()['id']}/events/stream"
    key = short_lived(api)
    with ThreadPoolExecutor(1) as pool, watched(api) as begun:
        streamed = pool.submit(api.client.get, path, headers=bearer(key))
        assert begun.wait(60)
        revoke_key(api.database, key["project_id"], key["id"])
        messages = parse(streamed.result(60).text)
    assert [message["id"] for message in messages] == ["1"]


def test_a_wait_whose_key_is_revoked_meanwhile_is_refused(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    key = short_lived(api)
    with ThreadPoolExecutor(1) as pool, watched(api) as begun:
        waiting = pool.submit(api.client.get, f"{path}?wait=60", headers=bearer(key))
        assert begun.wait(60)
        api.client.delete(f"/v1/api_keys/{key['id']}")
        api.client.post(f"{path}/cancel")
        answer = waiting.result(60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_quiet_stream_survives_an_outage_of_the_database(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEY_SECONDS", 0.01)
    job_id = api.post_job()["id"]
    asked = threading.Event()

    def authenticate(*_: object) -> Identity:
        asked.set()
        raise OperationalError("SELECT 1", {}, Exception("away"))

    with watched(api) as begun, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.client.get, f"{JOBS}/{job_id}/events/stream")
        assert begun.wait(60)
        with monkeypatch.context() as patch:
            patch.setattr(keyring, "authenticate", authenticate)
            api.app.state.keyring.forget_all()
            assert asked.wait(60)
        # With another key: this one may be looked for in vain yet.
        answer = api.client.post(f"{JOBS}/{job_id}/cancel", headers=api.key())
        assert answer.is_success
        text = waiting.result(60).text
    assert parse(text)[-1] == {"event": "done", "data": '{"status":"cancelled"}'}


def short_lived(api: Api) -> dict[str, Any]:
    body = {"name": "short-lived", "scopes": ["jobs:read"]}
    key: dict[str, Any] = api.client.post("/v1/api_keys", json=body).json()
    return key


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['secret']}"}


@contextmanager
def watched(api: Api) -> Iterator[threading.Event]:
    """Tell when somebody begins to wait for a job to change."""
    begun = threading.Event()

    class Telling(Watcher):
        async def wait(self, job_id: str, version: int, seconds: float | None = None) -> bool:
            begun.set()
            return await super().wait(job_id, version, seconds)

    telling = Telling(api.database)
    api.app.dependency_overrides[watcher] = lambda: telling
    try:
        yield begun
    finally:
        telling.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    key = {"Authorization": f"Bearer {served.key_file.read_text()}"}
    with httpx2.Client(base_url=served.url, headers=key, timeout=60) as client:
        yield client


def post(client: httpx2.Client) -> str:
    job_id: str = client.post(JOBS, json=SPEC.model_dump(mode="json")).json()["id"]
    return job_id


def read(client: httpx2.Client, job_id: str, number: int, most_bytes: int) -> list[dict[str, str]]:
    """Read so many bytes of a stream and hang up."""
    path = f"{JOBS}/{job_id}/events/stream"
    text = b""
    with client.stream("GET", path, headers={"Last-Event-ID": str(number)}) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_raw():
            text += piece
            if len(text) >= most_bytes:
                break
    return parse(text[:most_bytes].decode(errors="ignore"))


@pytest.mark.slow
def test_nothing_is_missing_and_nothing_twice_over_a_thousand_cuts(
    served: Served, client: httpx2.Client
) -> None:
    job_id = post(client)
    held = served.claim()

    def write() -> None:
        for batch in range(BATCHES):
            with served.database.write() as session:
                job = verbs.hold(session, *held)
                for number in range(BATCH):
                    event = Event("job.tried", f"Event {batch}.{number}", {"é": "line\nbreak"})
                    verbs.record(session, job, event)
            time.sleep(0.05)
        served.fail(held)

    writer = threading.Thread(target=write)
    writer.start()
    dice = random.Random(0)  # noqa: S311 (where to cut)
    seen: list[dict[str, Any]] = []
    for _ in range(RECONNECTS):
        messages = read(client, job_id, len(seen), dice.randrange(700))
        seen += [json.loads(message["data"]) for message in messages if "id" in message]
    *rest, done = read(client, job_id, len(seen), 10**9)
    writer.join()
    seen += [json.loads(message["data"]) for message in rest]
    assert [event["number"] for event in seen] == list(range(1, BATCHES * BATCH + 4))
    assert seen[-1]["type"] == "job.failed"
    assert done == {"event": "done", "data": '{"status":"failed"}'}


def test_an_event_arrives_soon_and_a_quiet_stream_stays_open(
    served: Served, client: httpx2.Client
) -> None:
    job_id = post(client)
    with client.stream("GET", f"{JOBS}/{job_id}/events/stream") as answer:
        pieces = answer.iter_raw()
        assert parse(next(pieces).decode())[0]["id"] == "1"
        client.patch(f"{JOBS}/{job_id}", json={"name": "new"})
        # Before the comment that a quiet stream is sent, in which there is no message.
        (message,) = parse(next(pieces).decode())
        assert json.loads(message["data"])["type"] == "job.edited"
        client.post(f"{JOBS}/{job_id}/cancel")
        rest = parse("".join(piece.decode() for piece in pieces))
    assert [message.get("event") for message in rest] == [None, "done"]


def test_a_server_that_is_told_to_end_ends_its_streams_at_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with serve(tmp_path_factory.mktemp("ending")) as served:
        key = {"Authorization": f"Bearer {served.key_file.read_text()}"}
        client = httpx2.Client(base_url=served.url, headers=key, timeout=60)
        job_id = post(client)
        answer = client.send(
            client.build_request("GET", f"{JOBS}/{job_id}/events/stream"), stream=True
        )
        pieces = answer.iter_raw()
        assert parse(next(pieces).decode())[0]["id"] == "1"
        served.process.terminate()
        # An answer that does not end is cut after 5 s, which its client takes for an error.
        assert list(pieces) == []
        served.process.wait(timeout=60)
        client.close()
