"""Sessions: short transactions on SQLite or PostgreSQL, and the database's own clock."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    create_engine,
    event,
    literal,
    make_url,
    select,
    text,
)
from sqlalchemy.engine.interfaces import (
    DBAPIConnection,
    DBAPICursor,
    ExceptionContext,
    ExecutionContext,
)
from sqlalchemy.exc import InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.db.table import UtcDateTime

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
RESTED_SECONDS = 1.0
"""A connection that nobody has used for so long is asked whether it is alive before it is used.

One that was lost a moment ago fails once, and all others with it are opened anew.
"""
RESTS_SINCE = "rests_since"


class DatabaseClock(FunctionElement[datetime]):
    """The database's own clock as a part of a statement: now, or ``ago``."""

    inherit_cache = True
    type = UtcDateTime()

    def __init__(self, ago: timedelta = timedelta()) -> None:
        super().__init__(literal(ago.total_seconds()))


class Database:
    """A place where transactions run; safe to share between threads, not over a fork."""

    def __init__(self, url: str, silence_seconds: float = LONGEST_SILENCE_SECONDS) -> None:
        """Open ``url``.

        PostgreSQL ends a transaction whose client says nothing for ``silence_seconds``: a process
        that is halted in one would else keep its locks.
        """
        self.engine = _create_engine(url, silence_seconds)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # PostgreSQL shows each statement what is committed by then, in a transaction or out of one:
        # that would only make two journeys more.
        self._reader = self.engine.execution_options(
            **({READ_ONLY: True} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"})
        )
        # Threads that wait here do not poll for SQLite's one write lock.
        self._one_writer: AbstractContextManager[object] = (
            threading.Lock() if self.is_sqlite else nullcontext()
        )

    @contextmanager
    def read(self, *, in_pieces: bool = False) -> Iterator[Session]:
        """Give a session for statements that change nothing.

        ``in_pieces`` where a result is (``yield_per``): PostgreSQL keeps one in a transaction only.
        """
        reader = self.engine if in_pieces and not self.is_sqlite else self._reader
        with Session(reader, expire_on_commit=False) as session:
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
    return session.scalars(select(DatabaseClock())).one()


@compiles(DatabaseClock)
def _clock(element: DatabaseClock, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 (the compiler's)
    return (
        f"clock_timestamp() - make_interval(secs => {compiler.process(element.clauses, **options)})"
    )


@compiles(DatabaseClock, "sqlite")
def _sqlite_clock(element: DatabaseClock, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 (the compiler's)
    ago = compiler.process(element.clauses, **options)
    # Six digits of a second, as SQLAlchemy writes moments: they are compared as text.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('-%f seconds', {ago}))"


def _create_engine(url: str, silence_seconds: float) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        milliseconds = round(silence_seconds * 1000)
        # psycopg reads no moment that in the zone of the session is in the year 10000.
        options = f"-c idle_in_transaction_session_timeout={milliseconds} -c TimeZone=UTC"
        engine = create_engine(
            url,
            pool_use_lifo=True,
            pool_size=10,
            max_overflow=30,
            connect_args={**GIVE_UP, "options": options},
        )
        event.listen(engine, "checkin", _note_rest)
        event.listen(engine, "checkout", partial(_ping_rested, engine.dialect))
        event.listen(engine, "handle_error", _take_for_cut_off, retval=True)
        event.listen(engine, "do_executemany", _execute_one_by_one)
        # What is left after many statements is the last one's count.
        engine.dialect.supports_sane_multi_rowcount = False
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _note_rest(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info[RESTS_SINCE] = time.monotonic()


def _ping_rested(
    dialect: Dialect,
    connection: DBAPIConnection,
    entry: ConnectionPoolEntry,
    _proxy: PoolProxiedConnection,
) -> None:
    """Let the pool open a new connection, and no old one be used, where one is lost."""
    now = time.monotonic()
    if now - entry.info.get(RESTS_SINCE, now) < RESTED_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


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
