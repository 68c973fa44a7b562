"""A house for fault runs: several workers, servers of its own, and somebody who watches."""

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from app.contracts.job import FINAL
from app.db.models import Job
from app.db.session import Database
from tests.faults.client import Client
from tests.faults.history import Expected, History, read_jobs
from tests.faults.oracle import complaints
from tests.faults.outcome import DatabaseKind
from tests.faults.processes import Watch, WorkerFamily, families
from tests.faults.servers import Postgres, Valkey
from tests.house import House

LEASE_SECONDS = 3.0
SHORT = {
    "STILLHOUSE_TRAINER": "worker.rehearsal",
    "STILLHOUSE_LEASE_SECONDS": str(LEASE_SECONDS),
    "STILLHOUSE_RENEW_SECONDS": "1",
    "STILLHOUSE_REAP_SECONDS": "0.5",
    "STILLHOUSE_TERMINATE_SECONDS": "5",
    "STILLHOUSE_BACKOFF_SECONDS": "0.5",
}
"""Settings under which a lost worker is missed soon."""
ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.2


@dataclass
class FaultHouse:
    """All parts of a running service, and what was asked of it."""

    house: House
    client: Client
    valkey: Valkey
    postgres: Postgres | None
    database: Database
    """The service's own, past every proxy."""
    watch: Watch
    workers: list[str]
    expected: dict[str, Expected] = field(default_factory=dict)
    touched: set[tuple[str, int]] | None = field(default_factory=set)
    """The attempts that were done harm to, by job and fence; None where one cannot tell."""
    is_kept: bool = False
    """Its folder is to stay, for somebody to look into."""

    @property
    def work(self) -> Path:
        return self.house.folder / "work"

    @property
    def blobs(self) -> Path:
        return self.house.folder / "blobs"

    def post(self, spec: dict[str, Any], expected: Expected) -> str:
        """Post a job, named for this run, and note what should become of it."""
        self.expected[spec["name"]] = expected
        return self.client.post(spec)

    def families(self) -> list[WorkerFamily]:
        pids = {
            name: self.house.processes[name].pid
            for name in self.workers
            if name in self.house.processes
        }
        return families(pids, self.work)

    def kill(self, name: str) -> None:
        """Kill a part's first process alone; the kernel takes a worker's others with it."""
        process = self.house.processes.pop(name)
        process.kill()
        process.wait()

    def wait_for_end(self, seconds: float) -> None:
        """Wait until every acknowledged job has ended, or until that long has passed."""
        give_up = time.monotonic() + seconds
        while self.open_jobs() and time.monotonic() < give_up:
            time.sleep(LOOK_SECONDS)

    def open_jobs(self) -> list[Job]:
        with self.database.read() as session:
            jobs = session.query(Job).where(Job.status.not_in(FINAL))
            return list(jobs)

    def history(self) -> History:
        jobs = read_jobs(self.database, self.blobs, self.expected)
        touched = None if self.touched is None else frozenset(self.touched)
        answers, survivors = self.client.answers, self.watch.survivors
        return History(list(self.client.promises), jobs, answers, survivors, touched)

    def judged(self) -> tuple[History, list[str]]:
        """Return what has happened, and what of it is wrong; if anything is, the folder stays."""
        history = self.history()
        wrong = complaints(history)
        self.is_kept = bool(wrong)
        return history, wrong


@contextlib.contextmanager
def open_house(
    kind: DatabaseKind,
    settings: dict[str, str],
    num_workers: int = 3,
    sabotage: str | None = None,
) -> Iterator[FaultHouse]:
    """Run a house in a folder of its own, which stays if the block raises or finds fault."""
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{kind}-"))
    # The user that PostgreSQL runs as has to get there.
    folder.chmod(0o755)
    workers = [f"worker-{number}" for number in range(1, num_workers + 1)]
    with contextlib.ExitStack() as stack:
        valkey = Valkey(folder)
        stack.callback(valkey.kill)
        valkey.start()
        postgres, url, direct = _database(kind, folder, stack)
        environment = {
            "STILLHOUSE_DATABASE_URL": url,
            "STILLHOUSE_BROKER_URL": valkey.url,
            "STILLHOUSE_STORAGE_URL": str(folder / "blobs"),
            # One thread a trainer: many share few cores here, and bits must not hang on it.
            "OMP_NUM_THREADS": "1",
            **settings,
        }
        if sabotage is not None:
            environment["PYTHONPATH"] = sabotaged(sabotage)
        house = House(folder, environment)
        stack.callback(_end_all, house)
        house.move_in(workers)
        client = Client(house.client)
        database = Database(direct)
        stack.callback(database.close)
        watch = Watch(database, folder / "work")
        stack.enter_context(watch.watching())
        fault_house = FaultHouse(house, client, valkey, postgres, database, watch, workers)
        yield fault_house
    if fault_house.is_kept:
        sys.stderr.write(f"what is left of that house is in {folder}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _database(
    kind: DatabaseKind, folder: Path, stack: contextlib.ExitStack
) -> tuple[Postgres | None, str, str]:
    """Return the server, if there is one, and the database's URLs: the service's, and our own."""
    if kind == "sqlite":
        url = f"sqlite:///{folder}/stillhouse.db"
        return None, url, url
    postgres = Postgres(folder)
    stack.callback(postgres.close)
    return postgres, *postgres.make_database()


def sabotaged(name: str) -> str:
    """Return the PYTHONPATH under which every process loads a change to the product."""
    return f"{ROOT / 'tests' / 'faults' / 'sabotage' / name}:{ROOT}"


def _end_all(house: House) -> None:
    """End every process of a house at once."""
    house.client.close()
    family = []
    for process in house.processes.values():
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(process.pid)
            family += [first, *first.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.Error):
            member.send_signal(signal.SIGKILL)
    for process in house.processes.values():
        process.wait()
    psutil.wait_procs(family, timeout=5)
