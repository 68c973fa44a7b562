"""Finds the processes of a house's workers, and watches that none outlives its attempt."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from app.contracts.job import Status
from app.db.models import Job
from app.db.session import Database
from tests.faults.history import Survivor

LOOK_SECONDS = 0.25
GRACE_SECONDS = 5.0
"""How long a process may live on after its attempt."""


@dataclass(frozen=True)
class Attempt:
    """A trainer that runs, and for what."""

    process: psutil.Process
    job_id: str
    fence: int

    @property
    def key(self) -> tuple[str, int]:
        return self.job_id, self.fence


@dataclass(frozen=True)
class WorkerFamily:
    """A worker's processes, each the parent of the next."""

    name: str
    tree: psutil.Process
    """`stillhouse worker`, which starts the next again when it dies."""
    main: psutil.Process
    """Celery's, which starts the next again when it dies."""
    child: psutil.Process
    """The supervisor."""
    attempt: Attempt | None


def families(processes: dict[str, int], work: Path) -> list[WorkerFamily]:
    """Return the workers that are complete at this moment, from their names and first pids."""
    found = []
    for name, pid in processes.items():
        with contextlib.suppress(psutil.Error, IndexError, ValueError):
            tree = psutil.Process(pid)
            (main,) = (one for one in tree.children() if "celery" in one.cmdline())
            child = main.children()[0]
            below = [_attempt(one, work) for one in child.children(recursive=True)]
            # The last is the trainer itself, whatever sandbox is around it.
            running = [one for one in below if one is not None]
            found.append(WorkerFamily(name, tree, main, child, running[-1] if running else None))
    return found


def attempts(work: Path) -> list[Attempt]:
    """Return every trainer whose folder lies under ``work``, and the sandboxes around them."""
    found = (_attempt(process, work) for process in psutil.process_iter())
    return [one for one in found if one is not None]


def _attempt(process: psutil.Process, work: Path) -> Attempt | None:
    with contextlib.suppress(psutil.Error, ValueError, StopIteration):
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        arguments = process.cmdline()
        if "worker.rehearsal" in arguments or "worker.distillation" in arguments:
            folder = next(one for one in arguments if one.endswith("/spec.json"))
            job_id, fence, _ = Path(folder).relative_to(work).parts
            return Attempt(process, job_id, int(fence))
    return None


class Watch:
    """Looks at all trainers all the time, and notes those whose attempt is over."""

    def __init__(self, database: Database, work: Path) -> None:
        self._database = database
        self._work = work
        self._over_since: dict[psutil.Process, float] = {}
        self._found: dict[psutil.Process, Survivor] = {}
        self._excused: set[tuple[str, int]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    @property
    def survivors(self) -> list[Survivor]:
        return list(self._found.values())

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    @contextlib.contextmanager
    def excusing(self, attempt: Attempt) -> Iterator[None]:
        """Blame nobody while a supervisor is frozen; its time begins when it can act again."""
        self._excused.add(attempt.key)
        try:
            yield
        finally:
            self._excused.discard(attempt.key)

    def _look_on(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            with contextlib.suppress(DBAPIError):
                self._look()

    def _look(self) -> None:
        running = attempts(self._work)
        with self._database.read() as session:
            held = session.execute(
                select(Job.id, Job.fence).where(Job.status == Status.RUNNING)
            ).all()
        fine = {(job_id, fence) for job_id, fence in held} | self._excused
        now = time.monotonic()
        over = {one.process: one for one in running if one.key not in fine}
        self._over_since = {p: self._over_since.get(p, now) for p in over}
        for process, since in self._over_since.items():
            if now - since > GRACE_SECONDS:
                one = over[process]
                self._found[process] = Survivor(one.job_id, one.fence, process.pid, now - since)
