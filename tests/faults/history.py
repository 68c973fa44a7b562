"""What a fault run leaves behind, as plain facts: the oracle's whole input."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.job import Status
from app.db.models import Job, JobEvent, JobFile, JobMetric
from app.db.session import Database


@dataclass(frozen=True)
class Answer:
    """What a client got for one request; status 0 where nothing came."""

    at: float
    method: str
    path: str
    status: int
    retry_after: str | None = None
    """Seconds, of a 503; where nothing came, why."""


@dataclass(frozen=True)
class EventSeen:
    number: int
    fence: int
    type: str
    at: float
    """Seconds since the epoch, by the database's clock."""
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PointSeen:
    """A metric's value, in the order in which they were written."""

    fence: int
    name: str
    step: int


@dataclass(frozen=True)
class FileSeen:
    path: str
    sha256: str
    stored_sha256: str | None
    """Of the bytes that the storage has; None where it has none."""


@dataclass(frozen=True)
class JobSeen:
    """A job at the end of a run, and what should have come of it."""

    id: str
    name: str
    status: str
    allowed: frozenset[str]
    """Statuses that the client may find it in at the end."""
    events: list[EventSeen]
    points: list[PointSeen] = field(default_factory=list)
    files: list[FileSeen] = field(default_factory=list)
    student: str | None = None
    """The sha256 of the student of a run that nothing disturbed."""
    error: str = ""


@dataclass(frozen=True)
class Survivor:
    """A process of an attempt that had ended before."""

    job_id: str
    fence: int
    pid: int
    seconds: float


@dataclass(frozen=True)
class History:
    acknowledged: list[str]
    jobs: dict[str, JobSeen]
    answers: list[Answer] = field(default_factory=list)
    survivors: list[Survivor] = field(default_factory=list)
    touched: frozenset[tuple[str, int]] | None = None
    """The attempts, by job and fence, that the run did harm to; None where it cannot tell."""


@dataclass(frozen=True)
class Expected:
    """What should become of a job."""

    allowed: frozenset[str] = frozenset({Status.SUCCEEDED})
    student: str | None = None


def read_jobs(database: Database, blobs: Path, expected: dict[str, Expected]) -> dict[str, JobSeen]:
    """Read every job with its events, metrics and files; ``expected`` is by the jobs' names."""
    with database.read() as session:
        events, points = _events(session), _points(session)
        files = _files(session, blobs)
        seen = {}
        for job in session.scalars(select(Job)):
            hoped = expected.get(job.name or "", Expected())
            seen[job.id] = JobSeen(
                job.id,
                job.name or "",
                job.status,
                hoped.allowed,
                events[job.id],
                points[job.id],
                files[job.id],
                hoped.student,
                str(job.error or ""),
            )
    return seen


def _events(session: Session) -> dict[str, list[EventSeen]]:
    found: dict[str, list[EventSeen]] = defaultdict(list)
    for row in session.scalars(select(JobEvent).order_by(JobEvent.job_id, JobEvent.number)):
        found[row.job_id].append(
            EventSeen(
                row.number, row.fence, row.type, row.created_at.timestamp(), row.message, row.data
            )
        )
    return found


def _points(session: Session) -> dict[str, list[PointSeen]]:
    found: dict[str, list[PointSeen]] = defaultdict(list)
    for row in session.scalars(select(JobMetric).order_by(JobMetric.id)):
        found[row.job_id].append(PointSeen(row.fence, row.name, row.step))
    return found


def _files(session: Session, blobs: Path) -> dict[str, list[FileSeen]]:
    found: dict[str, list[FileSeen]] = defaultdict(list)
    for row in session.scalars(select(JobFile)):
        path = blob_path(blobs, row.sha256)
        stored = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
        found[row.job_id].append(FileSeen(row.path, row.sha256, stored))
    return found


def blob_path(blobs: Path, sha256: str) -> Path:
    """Return where a storage that is a folder keeps a blob."""
    return blobs / "blobs" / sha256[:2] / sha256
