"""`stillhouse up`: the whole service on one machine, in one folder, in one tree of processes."""

import fcntl
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
from sqlalchemy import select

from app.config import Settings
from app.contracts.requests import SCOPES
from app.db import schema
from app.db.models import ApiKey
from app.db.session import Database
from app.local.tree import Command, Tree
from app.local.valkey import Valkey, free_port, write_private
from app.local.workers import worker_commands
from app.services.keys import DEFAULT_PROJECT, create_key, load_pepper

READY_SECONDS = 60.0
HOST = "127.0.0.1"
PLACES = ("database_url", "broker_url", "storage_url", "pepper_file", "work_folder")
"""The settings that follow from the folder; all others are the environment's."""


class CannotStart(Exception):
    """Why the service cannot start, for people."""


class Embedded:
    """The service in one folder; ``url`` and ``first_key`` are known once it has started."""

    def __init__(self, folder: Path, port: int) -> None:
        """Port 0 stands for any that is free."""
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.key_file = self.folder / "api_key"
        self.url_file = self.folder / "url"
        self.logs = self.folder / "logs"
        self.first_key: str | None = None
        self.tree = Tree()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the service while the block runs; afterwards there is no process of it.

        Raises:
            CannotStart: The folder is in use, the port is taken, or a part does not come up.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            self._require_free_port()
            self.logs.mkdir(exist_ok=True)
            try:
                self._start()
                yield
            finally:
                self.tree.stop()
                self.url_file.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel lets go of the lock when this process ends, however it ends.
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CannotStart(f"another `stillhouse up` is using {self.folder}") from None
            yield

    def _require_free_port(self) -> None:
        with socket.socket() as probe:
            # As the server will: a port whose last connections are still closing can be had.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise CannotStart(
                    f"port {self.port} of {HOST} cannot be had ({error.strerror}); "
                    "choose another with --port, or 0 for any"
                ) from None

    def _start(self) -> None:
        valkey = Valkey(self.folder / "valkey", self.logs)
        settings = self._settings(valkey.url)
        self._prepare(settings)
        api = self._part("api", "--host", HOST, "--port", str(self.port))
        # An attempt at a delivery may take 10 s.
        deliverer = replace(self._part("deliverer"), patience_seconds=15)
        others = [self._part("reconciler"), deliverer]
        parts = [api, *others, *worker_commands(settings, self.logs)]
        environment = {
            f"STILLHOUSE_{name.upper()}": str(getattr(settings, name)) for name in PLACES
        }
        self.tree.start(valkey.command)
        for part in parts:
            self.tree.start(replace(part, environment=environment | part.environment))
        self._await_readiness()
        write_private(self.url_file, f"{self.url}\n")

    def _settings(self, broker_url: str) -> Settings:
        return Settings(
            database_url=f"sqlite:///{self.folder}/stillhouse.db",
            broker_url=broker_url,
            storage_url=str(self.folder / "blobs"),
            pepper_file=self.folder / "pepper",
            work_folder=self.folder / "work",
        )

    def _prepare(self, settings: Settings) -> None:
        """Make the tables and, where there is none yet, the first key."""
        database = Database(settings.database_url)
        try:
            schema.upgrade(database)
            with database.read() as session:
                has_keys = session.scalar(select(ApiKey.id).limit(1)) is not None
            if not has_keys:
                pepper = load_pepper(settings.pepper_file)
                _, self.first_key = create_key(
                    database, pepper, project=DEFAULT_PROJECT, name="first key", scopes=SCOPES
                )
                write_private(self.key_file, f"{self.first_key}\n")
        finally:
            database.close()

    def _part(self, name: str, *options: str) -> Command:
        arguments = [sys.executable, "-P", "-m", "app.cli", name, *options]
        return Command(name, arguments, log_file=self.logs / f"{name}.log")

    def _await_readiness(self) -> None:
        give_up = time.monotonic() + READY_SECONDS
        answers: list[str] = ["nothing yet"]

        def is_ready() -> bool:
            try:
                response = httpx2.get(f"{self.url}/readyz", timeout=5, trust_env=False)
            except httpx2.TransportError as error:
                answers.append(str(error))
            else:
                if response.status_code == httpx2.codes.OK:
                    return True
                answers.append(response.text)
            if time.monotonic() > give_up:
                raise CannotStart(
                    f"not ready after {READY_SECONDS:g} s; /readyz says: {answers[-1]}; "
                    f"the logs are in {self.logs}"
                )
            return False

        if not self.tree.tend_until(is_ready):
            raise CannotStart("stopped before it was ready")
