"""Sessions: short transactions on SQLite or PostgreSQL, and the database's own clock."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.engine.interfaces import (
    DBAPIConnection,
    DBAPICursor,
    ExceptionContext,
    ExecutionContext,
)
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

AWAY = (OperationalError, InterfaceError, PoolTimeoutError)
"""What is raised where the database does not answer; trying again later may help."""
BUSY_SECONDS = 30
GIVE_UP = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""libpq's: a network that swallows packets is noticed in 25 s, not after the kernel's 15 min."""
LONGEST_SILENCE_SECONDS = 30.0
IDLE_IN_TRANSACTION = "25P03"
"""PostgreSQL's code for such an end; psycopg counts it among errors of the program."""
READ_ONLY = "stillhouse_read_only"


class Database:
    """A place where transactions run; safe to share between threads, not over a fork."""

    def __init__(self, url: str, silence_seconds: float = LONGEST_SILENCE_SECONDS) -> None:
        """Open ``url``.

        PostgreSQL ends a transaction whose client says nothing for ``silence_seconds``: a process
        that is halted in one would else keep its locks.
        """
        self.engine = _create_engine(url, silence_seconds)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # Threads that wait here do not poll for SQLite's one write lock.
        self._one_writer: AbstractContextManager[object] = (
            threading.Lock() if self.is_sqlite else nullcontext()
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Run one transaction that changes nothing."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options={READ_ONLY: True})
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Run one transaction; committed when the block ends, undone when it raises."""
        with (
            self._one_writer,
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def ping(self) -> None:
        """Raise SQLAlchemy's ``DBAPIError`` unless the database answers."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()


def database_now(session: Session) -> datetime:
    """Return the database's clock: the only one that leases and waits go by."""
    if session.get_bind().dialect.name == "sqlite":
        now = session.scalar(text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(now)).replace(tzinfo=UTC)
    moment = session.scalar(select(func.clock_timestamp()))
    assert isinstance(moment, datetime)  # noqa: S101 (for the type checker)
    return moment.astimezone(UTC)


def _create_engine(url: str, silence_seconds: float) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        milliseconds = round(silence_seconds * 1000)
        options = f"-c idle_in_transaction_session_timeout={milliseconds}"
        engine = create_engine(
            url,
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=30,
            connect_args={**GIVE_UP, "options": options},
        )
        event.listen(engine, "handle_error", _take_for_cut_off, retval=True)
        event.listen(engine, "do_executemany", _execute_one_by_one)
        # What is left after many statements is the last one's count.
        engine.dialect.supports_sane_multi_rowcount = False
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _take_for_cut_off(context: ExceptionContext) -> BaseException | None:
    """See a transaction that was ended for its silence as a connection that was lost."""
    error = context.original_exception
    if getattr(error, "sqlstate", None) != IDLE_IN_TRANSACTION:
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, None, error)


def _execute_one_by_one(
    cursor: DBAPICursor, statement: str, rows: Sequence[Any], _context: ExecutionContext
) -> bool:
    """Send one row after another.

    psycopg sends many rows as a pipeline, and PostgreSQL does not count as silent a client that is
    halted in the middle of one: it would keep its locks for ever.
    """
    for row in rows:
        cursor.execute(statement, row)
    return True


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101 (for the type checker)
    # Python's driver would otherwise begin transactions itself, and not at the beginning.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns to writing fails at once, whatever the busy timeout.
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
