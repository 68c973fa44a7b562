"""Who is halted in a transaction loses it and not its job; what was lost at rest is not used."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import Cursor
from sqlalchemy import create_engine, insert, literal, make_url, select, text
from sqlalchemy.exc import OperationalError

from app.config import Settings
from app.db import session as session_module
from app.db import verbs
from app.db.models import Job, Project
from app.db.session import Database, DatabaseClock, database_now
from app.db.table import UtcDateTime
from tests.jobs import claimed, queued
from worker.lease import Claim, Lease, Wish

SILENCE_SECONDS = 0.5


@pytest.mark.parametrize("says_more", [True, False], ids=["statement", "commit"])
def test_others_get_the_locks_of_a_halted_process_and_it_finds_its_connection_lost(
    postgres_url: str, *, says_more: bool
) -> None:
    halted, other = Database(postgres_url, SILENCE_SECONDS), Database(postgres_url)
    lock = text("SELECT pg_advisory_xact_lock(7)")

    def be_halted() -> None:
        with halted.write() as session:
            session.execute(lock)
            with other.write() as waiting:
                waiting.execute(lock)
            if says_more:
                session.execute(text("SELECT 1"))

    with pytest.raises(OperationalError, match="idle-in-transaction"):
        be_halted()

    halted.ping()
    halted.close()
    other.close()


def test_a_process_that_is_halted_between_many_rows_loses_its_locks_as_well(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_database.engine.url.render_as_string(hide_password=False)
    database = Database(url, 4 * SILENCE_SECONDS)
    now = datetime.now(UTC)
    rows = [{"id": f"halted-{n}", "name": f"halted-{n}", "created_at": now} for n in range(3)]
    execute = Cursor.execute

    def execute_and_halt(cursor: Cursor[Any], *arguments: Any, **named: Any) -> Cursor[Any]:  # noqa: ANN401 (as they were given)
        done = execute(cursor, *arguments, **named)
        if "INSERT" in str(arguments[0]):
            time.sleep(6 * SILENCE_SECONDS)
        return done

    def insert_all() -> None:
        with database.write() as session:
            session.execute(insert(Project), rows)

    monkeypatch.setattr(Cursor, "execute", execute_and_halt)
    with pytest.raises(OperationalError, match="idle-in-transaction"):
        insert_all()
    monkeypatch.undo()
    insert_all()

    with database.write() as session:
        for project in session.scalars(select(Project).where(Project.id.startswith("halted-"))):
            project.name = f"{project.id} for a while"
    with postgres_database.read() as session:
        query = select(Project.name).where(Project.id.startswith("halted-"))
        found = session.scalars(query).all()
    database.close()
    assert {f"{row['id']} for a while" for row in rows} == set(found)


def test_an_attempt_that_was_halted_in_a_transaction_goes_on_while_the_job_is_its_own(
    postgres_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(postgres_database)
    job = claimed(postgres_database)
    url = postgres_database.engine.url.render_as_string(hide_password=False)
    database = Database(url, SILENCE_SECONDS)
    hold, halts = verbs.hold, iter([True])

    def hold_and_halt(*arguments: object) -> Job:
        held = hold(*arguments)  # type: ignore[arg-type]  # as they were given
        if next(halts, False):
            time.sleep(2 * SILENCE_SECONDS)
        return held

    monkeypatch.setattr(verbs, "hold", hold_and_halt)
    settings = Settings(renew_seconds=0.05)
    with Lease(database, Claim(job.id, job.fence), settings, tmp_path / "none") as lease:
        time.sleep(4 * SILENCE_SECONDS)
        wish = lease.wish
    database.close()

    assert next(halts, None) is None
    assert wish is Wish.GO_ON
    with postgres_database.read() as session:
        now = session.get_one(Job, job.id)
    assert now.lease_until is not None
    assert job.lease_until is not None
    assert now.lease_until > job.lease_until


@pytest.mark.parametrize("has_rested", [True, False])
def test_of_connections_that_were_lost_at_rest_none_is_used_and_else_one_is(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, *, has_rested: bool
) -> None:
    monkeypatch.setattr(session_module, "RESTED_SECONDS", 0.0 if has_rested else 60.0)
    database, other = Database(postgres_url), Database(postgres_url)
    with database.write() as one, database.write() as two:
        lost = [session.scalar(text("SELECT pg_backend_pid()")) for session in (one, two)]
    with other.write() as session:
        for process in lost:
            session.execute(
                text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process}
            )

    if not has_rested:
        with pytest.raises(OperationalError, match="terminating connection"):
            database.ping()
    for _ in lost:
        database.ping()
    database.close()
    other.close()


@pytest.mark.parametrize("ago", [timedelta(), timedelta(seconds=90.5)])
def test_the_clock_in_a_statement_is_the_database_s_own(database: Database, ago: timedelta) -> None:
    with database.read() as session:
        before = database_now(session)
        moment = session.scalars(select(DatabaseClock(ago))).one()
        after = database_now(session)

    # SQLite's clock shows milliseconds.
    assert before - timedelta(milliseconds=1) <= moment + ago <= after


def test_moments_are_of_utc_in_whatever_zone_the_database_thinks(postgres_url: str) -> None:
    elsewhere = make_url(postgres_url).update_query_dict({"options": "-c TimeZone=Asia/Tokyo"})
    engine = create_engine(elsewhere)
    with engine.connect() as connection:
        zone = connection.execute(text("SHOW TimeZone")).scalar_one()
        moment = connection.execute(select(DatabaseClock())).scalar_one()
    engine.dispose()

    assert zone == "Asia/Tokyo"
    assert moment.tzinfo is UTC
    assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_calendar_s_last_moment_is_read_in_whatever_zone_the_database_thinks(
    postgres_url: str,
) -> None:
    url, last = make_url(postgres_url), datetime.max.replace(tzinfo=UTC)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {url.database} SET TimeZone = 'Asia/Tokyo'"))
    engine.dispose()
    database = Database(postgres_url)
    with database.read() as session:
        assert session.scalar(select(literal(last, UtcDateTime()))) == last
    database.close()
