"""Many uploads at once: they take turns, and nobody else waits for them."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import forms
from app.main import UPLOADS_AT_ONCE, UPLOADS_OF_ONE_PROJECT
from app.services.content import Content, inspect
from tests.unit.app.conftest import Api

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


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)
