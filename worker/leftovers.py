"""Folders of attempts that were killed with their worker, on a machine that lives on."""

import contextlib
import shutil
import time
from pathlib import Path

from structlog import get_logger

from app.contracts.job import Status
from app.db.models import Job
from app.db.session import Database

log = get_logger(__name__)

KEPT_SECONDS = 24 * 3600.0
"""Long enough for someone to look at what a killed attempt has left."""


def remove_leftovers(database: Database, work_folder: Path, now: float) -> None:
    """Remove what no running attempt uses and nobody has changed for a day; ``now`` is Unix time.

    The folders are `<job>/<fence>`; of another machine's attempts none are here.
    """
    for folder in work_folder.glob("*/*"):
        if not folder.name.isdecimal() or now - _last_change(folder) < KEPT_SECONDS:
            continue
        if not _is_running(database, folder.parent.name, int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
            log.info("leftover_removed", folder=str(folder))


class Sweeper:
    """Removes leftovers when it is asked, but at most once an hour."""

    def __init__(self, database: Database, work_folder: Path) -> None:
        self._database = database
        self._work_folder = work_folder
        self._rests_until = 0.0

    def sweep(self) -> None:
        if time.monotonic() >= self._rests_until:
            self._rests_until = time.monotonic() + 3600
            remove_leftovers(self._database, self._work_folder, time.time())


def _last_change(folder: Path) -> float:
    """Return when a folder, or what lies right in it, was changed last; now if it is just gone."""
    try:
        return max(path.stat().st_mtime for path in [folder, *folder.iterdir()])
    except OSError:
        return time.time()


def _is_running(database: Database, job_id: str, fence: int) -> bool:
    with database.read() as session:
        job = session.get(Job, job_id)
        return job is not None and job.status == Status.RUNNING and job.fence == fence
