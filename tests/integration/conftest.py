"""A migrated database of each kind, with a project."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.db import schema
from app.db.models import Project
from app.db.session import Database, database_now
from app.queue import Queue
from tests.jobs import PROJECT_ID


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Give a migrated database of each kind in turn."""
    with _migrated(database_url) as database:
        yield database


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    with _migrated(sqlite_url) as database:
        yield database


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    with _migrated(postgres_url) as database:
        yield database


@pytest.fixture
def queue(broker_url: str) -> Iterator[Queue]:
    queue = Queue(broker_url)
    yield queue
    queue.close()


@contextmanager
def _migrated(url: str) -> Iterator[Database]:
    database = Database(url)
    schema.upgrade(database)
    with database.write() as session:
        now = database_now(session)
        session.add(Project(id=PROJECT_ID, name="default", created_at=now))
    yield database
    database.close()
