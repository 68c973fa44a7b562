"""Bodies that come too slowly, or are known to be too large, over a real connection."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from app import forms
from tests.unit.app.conftest import JOBS, Api
from tests.unit.app.test_quotas import limit

LONGEST_SECONDS = 30.0
EVERY_SECONDS = 0.02
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
FORM = ("multipart/form-data; boundary=x", PART)
JSON = ("application/json", b'{"name":')
PLACES = {
    "/v1/files": FORM,
    "/v1/uploads/upload-1/parts": (
        "multipart/form-data; boundary=x",
        PART.replace(b'name="file"', b'name="data"'),
    ),
    JOBS: JSON,
}


@pytest.fixture
def port(api: Api) -> Iterator[int]:
    with served(api) as port:
        yield port


@contextmanager
def served(api: Api) -> Iterator[int]:
    """Serve an API in a thread, and give its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(api.app, lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=[[listening]])
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(LONGEST_SECONDS)
        assert not thread.is_alive()


def begin(api: Api, port: int, path: str, length: int | None) -> socket.socket:
    """Send the head of a request that has a body, and what the body begins with.

    Without a length the body comes in chunks.
    """
    media_type, start = PLACES[path]
    connection = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_SECONDS)
    head = {
        "Host": "localhost",
        "Authorization": api.client.headers["Authorization"],
        "Content-Type": media_type,
        **({"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    begun = chunk(start) if length is None else start
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + begun)
    return connection


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def answer(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, object]]:
    """Read an answer until the connection ends: its status, headers and body."""
    received = b""
    # What was sent after the server's last look makes its end a reset one.
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(65536):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(body)


def dribble(connection: socket.socket, piece: bytes) -> None:
    """Send a piece again and again until there is an answer."""
    connection.settimeout(EVERY_SECONDS)
    for _ in range(round(LONGEST_SECONDS / EVERY_SECONDS)):
        try:
            connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                connection.sendall(piece)
        else:
            connection.settimeout(LONGEST_SECONDS)
            return
    raise AssertionError("there is no answer")


@pytest.mark.parametrize("path", PLACES)
def test_a_client_that_falls_silent_is_told_so_and_gives_its_place_to_others(
    api: Api, port: int, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("app.pace.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr("app.forms.MOST_AT_ONCE", 1)
    with begin(api, port, path, length=1000) as connection:
        status, headers, body = answer(connection)

    assert (status, headers["content-type"]) == (408, "application/problem+json")
    assert (headers["connection"], headers["x-should-retry"]) == ("close", "true")
    assert body["detail"] == "nothing of the body came for 0.2 s; send it again"
    api.upload()


@pytest.mark.parametrize("path", PLACES)
def test_a_byte_now_and_then_is_not_enough(
    api: Api, port: int, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("app.pace.GRACE_SECONDS", 0.2)
    with begin(api, port, path, length=900_000) as connection:
        dribble(connection, b"x")
        status, headers, body = answer(connection)

    assert (status, headers["connection"]) == (408, "close")
    assert "expected at least 8192 a second" in str(body["detail"])


def test_a_body_that_comes_fast_enough_may_yet_not_take_for_ever(
    api: Api, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pace.GRACE_SECONDS", 0.1)
    monkeypatch.setattr("app.pace.LEAST_BYTES_PER_SECOND", 1)
    monkeypatch.setattr("app.pace.LONGEST_SECONDS", 0.3)
    with begin(api, port, "/v1/files", length=10**9) as connection:
        dribble(connection, b"x" * 1000)
        status, _, body = answer(connection)

    assert status == 408
    assert "send a large file in parts" in str(body["detail"])


def test_a_body_that_pauses_and_goes_on_is_taken(
    api: Api, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pace.GRACE_SECONDS", 0.1)
    monkeypatch.setattr("app.pace.LEAST_BYTES_PER_SECOND", 1)
    rest = b"a,label\n" * 10 + b"\r\n--x--\r\n"
    with begin(api, port, "/v1/files", length=len(PART) + len(rest)) as connection:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(rest)
        connection.settimeout(LONGEST_SECONDS)
        assert connection.recv(12) == b"HTTP/1.1 201"


def test_the_slow_clients_of_one_project_leave_places_for_the_others(
    api: Api, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.forms.MOST_OF_ONE_PROJECT", 1)
    upload = {"file": ("a.txt", b"x")}
    with begin(api, port, "/v1/files", length=1000):
        until(lambda: forms._arriving.total() == 1)  # noqa: SLF001 (the slow one has its place)
        assert api.client.post("/v1/files", files=upload).status_code == 503
        other = api.client.post("/v1/files", files=upload, headers=api.key(project="other"))
        assert other.status_code == 201
    # The line is cut, and the place is free.
    until(lambda: api.client.post("/v1/files", files=upload).status_code == 201)


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LONGEST_SECONDS
    while not condition():
        assert time.monotonic() < give_up


@pytest.mark.parametrize("path", ["/v1/files", "/v1/uploads/upload-1/parts"])
def test_a_form_larger_than_the_whole_quota_is_refused_before_it_is_read(
    api: Api, port: int, path: str
) -> None:
    limit(api, stored_bytes=1000)
    with begin(api, port, path, length=2**20 + 1001) as connection:
        assert connection.recv(12) == b"HTTP/1.1 429"


@pytest.mark.parametrize("path", ["/v1/files", "/v1/uploads/upload-1/parts"])
def test_a_form_that_does_not_say_its_size_is_read_no_further_than_the_quota(
    api: Api, port: int, path: str
) -> None:
    limit(api, stored_bytes=1000)
    with begin(api, port, path, length=None) as connection:
        connection.sendall(chunk(b"x" * (2**20 + 1001)))
        assert connection.recv(12) == b"HTTP/1.1 429"
