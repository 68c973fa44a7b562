"""Many uploads at once: they take turns, and nobody else waits for them."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx2
import pytest

from app import forms
from app.main import UPLOADS_AT_ONCE, UPLOADS_OF_ONE_PROJECT
from app.room import Turns
from app.services.content import Content, inspect
from tests.unit.app.conftest import Api
from tests.unit.app.test_pace import PART, begin, served

MANY = 44
"""More than there are threads for requests, and fewer than may arrive of one project."""
WAIT_SECONDS = 60.0


class Reading:
    """Stands where uploads are read, which takes until they are told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.most = 0
        self.now = 0
        self._lock = threading.Lock()

    def inspect(self, chunks: Iterator[bytes]) -> Content:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.go_on.wait(2 * WAIT_SECONDS)
        with self._lock:
            self.now -= 1
        return inspect(chunks)


class Counted(Turns):
    """Counts who has come to wait for a turn."""

    num_asked = 0

    @asynccontextmanager
    async def taken(self, project_id: str) -> AsyncIterator[None]:
        self.num_asked += 1
        async with super().taken(project_id):
            yield


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    reading = Reading()
    for module in ("files", "uploads"):
        monkeypatch.setattr(f"app.services.{module}.inspect", reading.inspect)
    yield reading
    reading.go_on.set()


def test_many_uploads_of_one_project_keep_nobody_else_waiting(api: Api, reading: Reading) -> None:
    new = {"filename": "a", "purpose": "dataset", "bytes": MANY, "mime_type": "text/csv"}
    upload_id = api.client.post("/v1/uploads", json=new).json()["id"]
    other = api.key(project="other")

    def send(number: int) -> int:
        content = (str(number), str(number).encode())
        if number % 2:
            path = f"/v1/uploads/{upload_id}/parts"
            return api.client.post(path, files={"data": content}).status_code
        return api.client.post("/v1/files", files={"file": content}).status_code

    def send_of_other() -> int:
        return api.client.post("/v1/files", files={"file": ("a", b"a")}, headers=other).status_code

    with ThreadPoolExecutor(MANY + 2) as pool:
        sent = [pool.submit(send, number) for number in range(MANY)]
        try:
            until(lambda: forms._arriving.total() == MANY)  # noqa: SLF001
            until(lambda: reading.now >= UPLOADS_OF_ONE_PROJECT)
            read = pool.submit(api.client.get, "/v1/files", headers=other)
            assert read.result(WAIT_SECONDS).json()["data"] == []
            of_other = pool.submit(send_of_other)
            until(lambda: reading.now > UPLOADS_OF_ONE_PROJECT)
            assert reading.most == UPLOADS_OF_ONE_PROJECT + 1 <= UPLOADS_AT_ONCE
        finally:
            reading.go_on.set()
        assert of_other.result(WAIT_SECONDS) == 201
        assert {one.result(WAIT_SECONDS) for one in sent} == {200, 201}
    assert len(api.client.get("/v1/files?limit=100").json()["data"]) == MANY // 2


def test_who_goes_away_before_its_turn_has_stored_nothing(api: Api, reading: Reading) -> None:
    turns = Counted("uploads", places=1, of_one_project=1, patience_seconds=WAIT_SECONDS)
    api.app.state.upload_turns = turns
    key = {"Authorization": api.client.headers["Authorization"]}
    with served(api) as port, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{port}/v1/files"
        form = {"file": ("first", b"1")}
        first = pool.submit(httpx2.post, url, files=form, headers=key, timeout=WAIT_SECONDS)
        try:
            until(lambda: reading.now == 1)
            rest = b"2\r\n--x--\r\n"
            with begin(api, port, "/v1/files", length=len(PART + rest)) as connection:
                connection.sendall(rest)
                until(lambda: turns.num_asked == 2)
        finally:
            reading.go_on.set()
        assert first.result(WAIT_SECONDS).is_success
        until(lambda: forms._arriving.total() == 0)  # noqa: SLF001
    (file,) = api.client.get("/v1/files").json()["data"]
    assert file["filename"] == "first"


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)
