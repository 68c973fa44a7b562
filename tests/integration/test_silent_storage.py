"""The reconciler beside a storage that takes connections and does not answer."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import reconciler
from app.config import Settings
from app.contracts.job import Status
from app.db.models import Job
from app.db.session import Database
from app.services.collection import BlobCollector
from tests.jobs import claimed, queued

WAIT_SECONDS = 60.0


@pytest.mark.slow
def test_a_silent_storage_does_not_keep_lost_jobs_from_being_taken_back(
    sqlite_database: Database, sqlite_url: str, broker_url: str, silent_s3_url: str
) -> None:
    job_id = queued(sqlite_database)
    claimed(sqlite_database, lease_seconds=0)
    settings = {
        "DATABASE_URL": sqlite_url,
        "BROKER_URL": broker_url,
        "STORAGE_URL": silent_s3_url,
        "LEASE_SECONDS": "2",
        "RENEW_SECONDS": "1",
        "REAP_SECONDS": "0.1",
    }
    with _reconciler({f"STILLHOUSE_{name}": value for name, value in settings.items()}):
        give_up = time.monotonic() + WAIT_SECONDS
        while _status(sqlite_database, job_id) != Status.QUEUED:
            assert time.monotonic() < give_up
            time.sleep(0.1)


def test_what_nobody_foresaw_in_a_collector_ends_the_process(
    tmp_path: Path, sqlite_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_collector: BlobCollector) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(BlobCollector, "tick", broken)
    monkeypatch.setattr("app.reconciler.signal.signal", lambda *_: None)
    settings = Settings(
        database_url=sqlite_url,
        broker_url=broker_url,
        storage_url=str(tmp_path / "blobs"),
        reap_seconds=0.01,
    )
    with pytest.raises(ZeroDivisionError):
        reconciler.run(settings)


@contextmanager
def _reconciler(settings: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "app.cli", "reconciler"]
    process = subprocess.Popen(command, env=os.environ | settings)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _status(database: Database, job_id: str) -> str:
    with database.read() as session:
        return session.get_one(Job, job_id).status
