"""Health, readiness, the API's description, and what the process loads."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from fastapi.openapi.utils import get_openapi
from starlette.testclient import TestClient

from app.config import Settings
from app.contracts.requests import SCOPES
from app.db import schema
from app.main import create_app
from app.services.keys import create_key
from app.services.parts import Parts
from app.services.readiness import Part
from tests.unit.app.conftest import NOBODY, Api, settings

ROOT = Path(__file__).parents[3]
MORE_THAN_THREADS = 44
"""More requests than there are threads for them."""
WAIT_SECONDS = 60.0


@contextmanager
def migrated(made: Settings) -> Iterator[TestClient]:
    app = create_app(made)
    schema.upgrade(app.state.parts.database)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def until_not_ready_are(client: TestClient, *parts: str) -> dict[str, Any]:
    """Ask until these parts are not ready, and those alone: on a busy machine all may be late."""
    give_up = time.monotonic() + WAIT_SECONDS
    while True:
        body: dict[str, Any] = client.get("/readyz").json()
        if body.get("error", {"param": ""})["param"] == ", ".join(parts):
            return body
        assert time.monotonic() < give_up, body
        time.sleep(0.1)


def test_it_is_ready_when_database_queue_and_storage_answer(
    tmp_path: Path, broker_url: str
) -> None:
    with migrated(settings(tmp_path, broker_url=broker_url)) as client:
        assert until_not_ready_are(client) == {"status": "ok"}


def test_it_is_not_ready_without_the_queue_and_says_so(tmp_path: Path) -> None:
    with migrated(settings(tmp_path, broker_url=NOBODY)) as client:
        until_not_ready_are(client, "queue")
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]


def test_it_is_not_ready_before_the_migrations_and_makes_no_tables(
    tmp_path: Path, broker_url: str
) -> None:
    app = create_app(settings(tmp_path, broker_url=broker_url))
    with TestClient(app) as client:
        answer = until_not_ready_are(client, "database")
        assert "stillhouse migrate" in answer["detail"]
        assert not schema.is_current(app.state.parts.database)


def test_it_is_not_ready_without_a_database(tmp_path: Path, broker_url: str) -> None:
    nowhere = f"sqlite:///{tmp_path}/missing/test.db"
    app = create_app(settings(tmp_path, broker_url=broker_url, database_url=nowhere))
    with TestClient(app) as client:
        answer = until_not_ready_are(client, "database")
        assert "does not answer" in answer["detail"]


def test_it_is_not_ready_while_the_storage_is_silent(
    tmp_path: Path, broker_url: str, silent_s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The answer does not wait for this, but the test's end does.
    monkeypatch.setattr("app.storage.QUICK_SECONDS", 3)
    monkeypatch.setattr("app.main.SHORT_PATIENCE_SECONDS", 0)
    with migrated(settings(tmp_path, broker_url=broker_url, storage_url=silent_s3_url)) as client:
        until_not_ready_are(client, "storage")


def test_a_part_that_is_silent_is_asked_once_however_many_want_to_know(
    tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    asked: list[float] = []

    def ping() -> None:
        asked.append(time.monotonic())
        assert go_on.wait(2 * WAIT_SECONDS)

    with (
        migrated(settings(tmp_path, broker_url=broker_url)) as client,
        ThreadPoolExecutor(MORE_THAN_THREADS + 1) as pool,
    ):
        parts: Parts = client.app.state.parts  # type: ignore[attr-defined]  # FastAPI's
        monkeypatch.setattr(parts.storage, "ping", ping)
        secret = create_key(
            parts.database, parts.pepper, project="default", name="test", scopes=SCOPES
        )[1]
        try:
            answers = [pool.submit(client.get, "/readyz") for _ in range(MORE_THAN_THREADS)]
            for answer in answers:
                body = answer.result(WAIT_SECONDS).json()
                assert "the storage does not answer" in body["detail"]
                assert "storage" in body["error"]["param"]
            headers = {"Authorization": f"Bearer {secret}"}
            read = pool.submit(client.get, "/v1/files", headers=headers)
            assert read.result(WAIT_SECONDS).is_success
            assert len(asked) == 1
        finally:
            go_on.set()
        until_not_ready_are(client)
        give_up = time.monotonic() + WAIT_SECONDS
        while len(asked) == 1:
            assert time.monotonic() < give_up
            client.get("/readyz")


def test_a_part_that_always_takes_long_is_as_it_was_until_it_answers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.services.readiness.PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr("app.services.readiness.REMEMBERED_SECONDS", 0.0)
    answers = Queue[None]()
    part = Part("storage", answers.get)
    assert asyncio.run(part.answer()) == "the storage does not answer"
    answers.put(None)
    give_up = time.monotonic() + WAIT_SECONDS
    while asyncio.run(part.answer()) is not None:
        assert time.monotonic() < give_up
    # It has answered, and is being asked again, in vain.
    assert asyncio.run(part.answer()) is None
    monkeypatch.setattr("app.services.readiness.LATE_SECONDS", 0.0)
    assert asyncio.run(part.answer()) == "the storage does not answer"
    answers.put(None)


def test_it_lives_whatever_else_is_down(api: Api) -> None:
    assert api.client.get("/healthz").json() == {"status": "ok"}


def test_every_route_is_described_with_the_body_of_its_errors(api: Api) -> None:
    document = api.client.get("/openapi.json").json()
    operations = [one for path in document["paths"].values() for one in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids) > 20
    for operation in operations:
        assert operation["operationId"].isidentifier()
        assert operation["summary"]
        for status in ("4XX", "5XX"):
            content = operation["responses"][status]["content"]
            assert content == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
            }
    assert document["paths"]["/v1/files"]["post"]["security"] == [{"HTTPBearer": []}]


def test_however_many_ask_for_the_description_at_once_it_is_made_once_and_whole(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []

    def make(**given: Any) -> dict[str, Any]:  # noqa: ANN401 (as they are given)
        made.append(time.monotonic())
        return get_openapi(**given)

    monkeypatch.setattr("app.main.get_openapi", make)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(api.client.get, "/openapi.json") for _ in range(8)]
        answers = {one.result(WAIT_SECONDS).text for one in asked}
    assert len(made) == len(answers) == 1


def test_every_reference_in_the_description_leads_somewhere(api: Api) -> None:
    document = api.client.get("/openapi.json").json()

    def references(node: Any) -> Iterator[str]:  # noqa: ANN401 (any JSON)
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    schemas = document["components"]["schemas"]
    found = set(references(document))
    assert len(found) > 20
    assert {one.removeprefix("#/components/schemas/") for one in found} <= schemas.keys()


@pytest.mark.slow
def test_the_api_opens_from_the_environment_and_loads_no_engine(tmp_path: Path) -> None:
    code = (
        "import sys; from app.main import create_app; create_app().openapi();"
        "sys.exit(' '.join({'torch', 'numpy', 'sklearn', 'worker'} & set(sys.modules)) or 0)"
    )
    environment = {
        **os.environ,
        "STILLHOUSE_DATABASE_URL": f"sqlite:///{tmp_path}/test.db",
        "STILLHOUSE_STORAGE_URL": str(tmp_path / "blobs"),
        "STILLHOUSE_PEPPER_FILE": str(tmp_path / "pepper"),
        "STILLHOUSE_BROKER_URL": NOBODY,
    }
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=False, capture_output=True
    )
    assert run.returncode == 0, run.stderr.decode()
    assert (tmp_path / "pepper").exists()
