"""Clients that wait for a job to change."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from app.db import schema, wishes
from app.db.lifecycle import lock
from app.db.models import Project
from app.db.session import Database, database_now
from app.services.watching import Watcher
from tests.jobs import PROJECT_ID, queued
from tests.unit.app.conftest import JOBS, Api

PATIENCE = 60
CLIENTS = 1000


def rename(database: Database, job_id: str, name: str) -> None:
    with database.write() as session:
        wishes.edit(session, lock(session, job_id), {"name": name})


def test_a_wait_ends_when_the_job_changes(api: Api) -> None:
    job_id = api.post_job()["id"]
    # However late it is asked, what is known is the version before the change.
    known = {"If-None-Match": api.client.get(f"{JOBS}/{job_id}").headers["ETag"]}
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        path = f"{JOBS}/{job_id}?wait={PATIENCE}"
        waiting = pool.submit(api.client.get, path, headers=known)
        time.sleep(0.5)
        assert not waiting.done()
        rename(api.database, job_id, "new")
        assert waiting.result().json()["name"] == "new"
    assert time.monotonic() - began < PATIENCE / 2


def test_a_wait_in_vain_gives_the_job_or_304(api: Api) -> None:
    path = f"{JOBS}/{api.post_job()['id']}"
    answer = api.client.get(f"{path}?wait=0.3")
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    etag = {"If-None-Match": answer.headers["ETag"]}
    began = time.monotonic()
    assert api.client.get(f"{path}?wait=0.3", headers=etag).status_code == 304
    assert time.monotonic() - began >= 0.3


def test_who_knows_an_older_version_or_asks_of_an_ended_job_does_not_wait(api: Api) -> None:
    job_id = api.post_job()["id"]
    path = f"{JOBS}/{job_id}"
    etag = {"If-None-Match": api.client.get(path).headers["ETag"]}
    rename(api.database, job_id, "new")
    began = time.monotonic()
    assert api.client.get(f"{path}?wait={PATIENCE}", headers=etag).json()["name"] == "new"
    api.client.post(f"{path}/cancel")
    assert api.client.get(f"{path}?wait={PATIENCE}").json()["status"] == "cancelled"
    assert time.monotonic() - began < PATIENCE / 2


def test_a_wait_is_for_a_job_that_is_there_and_at_most_a_minute(api: Api) -> None:
    assert api.client.get(f"{JOBS}/unknown?wait=9").status_code == 404
    path = f"{JOBS}/{api.post_job()['id']}"
    for wait in ("61", "-1", "nan", "x"):
        assert api.client.get(f"{path}?wait={wait}").status_code == 400, wait


@pytest.mark.slow
def test_a_thousand_waiting_clients_hold_no_connection_and_no_thread(api: Api) -> None:
    job_id = api.post_job()["id"]
    known = {"If-None-Match": api.client.get(f"{JOBS}/{job_id}").headers["ETag"]}

    async def wait_for_all() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(api.app)
        key = {"Authorization": api.client.headers["Authorization"]}
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://test", headers=key, timeout=120
        ) as client:
            path = f"{JOBS}/{job_id}"
            waiting = [
                asyncio.create_task(client.get(f"{path}?wait=60", headers=known))
                for _ in range(CLIENTS)
            ]
            # The pool of threads serves in turn: these come after those have begun to wait.
            for _ in range(100):
                assert (await client.get(path)).status_code == 200
            assert not any(task.done() for task in waiting)
            pool = api.database.engine.pool
            assert isinstance(pool, QueuePool)
            assert pool.checkedout() <= 1
            assert threading.active_count() < 100
            await asyncio.to_thread(rename, api.database, job_id, "new")
            return await asyncio.gather(*waiting)

    # A loop of its own, so with a watcher of its own.
    api.app.state.watcher = Watcher(api.database)
    answers = asyncio.run(wait_for_all())
    assert [answer.json()["version"] for answer in answers] == [2] * CLIENTS


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/test.db")
    schema.upgrade(database)
    with database.write() as session:
        session.add(Project(id=PROJECT_ID, name="default", created_at=database_now(session)))
    yield database
    database.close()


def test_a_job_that_is_deleted_is_a_change_and_a_closed_watcher_lets_all_go(
    database: Database,
) -> None:
    job_id = queued(database)

    async def wait() -> None:
        watcher = Watcher(database)
        assert await watcher.wait("gone", 1, PATIENCE)
        waiting = [asyncio.create_task(watcher.wait(job_id, 1)) for _ in range(3)]
        await asyncio.sleep(0.1)
        watcher.close()
        assert await asyncio.gather(*waiting, watcher.wait(job_id, 1)) == [False] * 4

    asyncio.run(wait())


def test_who_waits_is_told_after_the_database_was_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = queued(database)

    async def wait() -> bool:
        watcher = Watcher(database)
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "connect", _away)
            waiting = asyncio.create_task(watcher.wait(job_id, 1, PATIENCE))
            await asyncio.sleep(0.6)
            assert not waiting.done()
        rename(database, job_id, "new")
        return await waiting

    assert asyncio.run(wait())


def _away(*_: object) -> None:
    raise OperationalError("SELECT 1", {}, Exception("away"))
