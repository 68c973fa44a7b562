"""What happened in a job: its events, and what its attempts measured and printed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from app.contracts.job import LARGEST_NUMBER, JobEvent, MetricPoint, Status
from app.contracts.registry import Page
from app.db.models import Job, JobLog, JobMetric
from app.db.models import JobEvent as JobEventRow
from app.db.session import Database
from app.errors import BadRequest, NotFound
from app.services.ownership import ends, find

EVENT = re.compile(r"(distjob-[0-9a-f-]+\.)?([0-9]{1,9})")
"""The id of a job's event, or its number alone."""

MOST_POINTS = 10_000
"""Of metrics in one page."""


MOST_FOLLOWED = 500
"""Of events in one piece of a stream."""


@dataclass(frozen=True)
class Followed:
    """Some of a job's events, and the job's version and status when they were read."""

    events: list[JobEvent]
    version: int
    status: Status
    is_last: bool = field(kw_only=True)
    """Whether no more were there."""


@dataclass(frozen=True)
class Wanted:
    """Which metrics: all series where no name is given; both ends of the range are meant."""

    names: tuple[str, ...] = ()
    step_from: int | None = None
    step_to: int | None = None


def list_events(
    database: Database, project_id: str, job_id: str, after: str | None, limit: int
) -> Page[JobEvent]:
    """List a job's events after one of an id or number, oldest first; from the first on at None.

    Raises:
        BadRequest: That is neither.
        NotFound: It is the id of another job's event, or there is no such job.
    """
    number = 0 if after is None else _number(job_id, after)
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        rows = session.scalars(
            select(JobEventRow)
            .where(JobEventRow.job_id == job.id, JobEventRow.number > number)
            .order_by(JobEventRow.number)
            .limit(limit + 1)
        ).all()
    data = [_event(row) for row in rows[:limit]]
    has_more = len(rows) > limit
    return Page[JobEvent](data=data, has_more=has_more, **ends([event.id for event in data]))


def list_newest_events(
    database: Database, project_id: str, job_id: str, after: str | None, limit: int
) -> Page[JobEvent]:
    """List a job's events newest first; ``after`` and errors as ``list_events`` has them."""
    number = LARGEST_NUMBER if after is None else _number(job_id, after)
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        rows = session.scalars(
            select(JobEventRow)
            .where(JobEventRow.job_id == job.id, JobEventRow.number < number)
            .order_by(JobEventRow.number.desc())
            .limit(limit + 1)
        ).all()
    data = [_event(row) for row in rows[:limit]]
    has_more = len(rows) > limit
    return Page[JobEvent](data=data, has_more=has_more, **ends([event.id for event in data]))


def follow_events(database: Database, project_id: str, job_id: str, after: int) -> Followed:
    """Read a job's events after a number, and how it stood at that moment."""
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        rows = session.scalars(
            select(JobEventRow)
            .where(JobEventRow.job_id == job.id, JobEventRow.number > after)
            .order_by(JobEventRow.number)
            .limit(MOST_FOLLOWED)
        ).all()
    is_last = not rows or rows[-1].number == job.num_events
    return Followed([_event(row) for row in rows], job.version, job.status, is_last=is_last)


def list_metrics(
    database: Database, project_id: str, job_id: str, wanted: Wanted
) -> Page[MetricPoint]:
    """List what a job measured, by step; a page ends with a whole step.

    Where it says ``has_more``, the rest begins at the step after its last.
    """
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        points, has_more = _whole_steps(session, job, wanted)
    return Page[MetricPoint](data=points, has_more=has_more, first_id=None, last_id=None)


def iterate_metrics(
    database: Database, project_id: str, job_id: str, wanted: Wanted
) -> Iterator[MetricPoint]:
    """Give all that a job measured, by step; the job is looked up at once."""
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
    return _all_points(database, job, wanted)


def read_log(
    database: Database, project_id: str, job_id: str, attempt: int | None, tail: int | None
) -> str:
    """Read what the trainer of an attempt printed, or the last ``tail`` lines of it.

    The latest attempt's, where none is named.

    Raises:
        NotFound: The job has not had that attempt.
    """
    with database.read() as session:
        job = find(session, Job, project_id, job_id)
        fence = job.fence if attempt is None else _fence(session, job, attempt)
        pieces = session.scalars(
            select(JobLog.text)
            .where(JobLog.job_id == job.id, JobLog.fence == fence)
            .order_by(JobLog.number)
        ).all()
    text = "".join(pieces)
    if tail is None:
        return text
    # Not `splitlines`, which also splits at form feeds and the like.
    return "".join(StringIO(text, newline="\n").readlines()[-tail:])


def _number(job_id: str, event: str) -> int:
    found = EVENT.fullmatch(event)
    if found is None:
        message = f"given {event[:80]!r}; expected the id of an event of this job, or its number"
        raise BadRequest(message, param="after")
    if found[1] not in {None, f"{job_id}."}:
        raise NotFound(f"given {event[:80]!r}; it is no event of this job", param="after")
    return int(found[2])


def _event(row: JobEventRow) -> JobEvent:
    return JobEvent(
        id=f"{row.job_id}.{row.number}",
        number=row.number,
        type=row.type,
        message=row.message,
        created_at=row.created_at,
        data=row.data,
    )


def _fence(session: Session, job: Job, attempt: int) -> int:
    claims = select(JobEventRow.fence).where(
        JobEventRow.job_id == job.id, JobEventRow.type == "job.claimed"
    )
    fence = session.scalar(claims.order_by(JobEventRow.number).offset(attempt - 1).limit(1))
    if fence is None:
        raise NotFound(f"given attempt {attempt}; the job has had {job.attempt}")
    return fence


def curve(job: Job, wanted: Wanted) -> Select[JobMetric]:
    """Select one curve over all attempts: where several measured a step, the last one counts.

    An attempt goes on from a checkpoint, so what was measured up to there stays true.
    """
    last_fence = func.max(JobMetric.fence).over(partition_by=(JobMetric.step, JobMetric.name))
    query = select(JobMetric, last_fence.label("last_fence")).where(JobMetric.job_id == job.id)
    if wanted.names:
        query = query.where(JobMetric.name.in_(wanted.names))
    if wanted.step_from is not None:
        query = query.where(JobMetric.step >= wanted.step_from)
    if wanted.step_to is not None:
        query = query.where(JobMetric.step <= wanted.step_to)
    measured = query.subquery()
    point = aliased(JobMetric, measured)
    counts = point.fence == measured.c.last_fence
    return select(point).where(counts).order_by(point.step, point.name, point.id)


def _whole_steps(session: Session, job: Job, wanted: Wanted) -> tuple[list[MetricPoint], bool]:
    rows: Sequence[JobMetric] = session.scalars(curve(job, wanted).limit(MOST_POINTS + 1)).all()
    has_more = len(rows) > MOST_POINTS
    if has_more:
        cut = rows[-1].step
        # A step of more series than a page holds is given whole, or no page would pass it.
        rows = [row for row in rows if row.step < cut] or session.scalars(
            curve(job, Wanted(wanted.names, cut, cut))
        ).all()
    return [MetricPoint.model_validate(row, from_attributes=True) for row in rows], has_more


def _all_points(database: Database, job: Job, wanted: Wanted) -> Iterator[MetricPoint]:
    has_more = True
    while has_more:
        with database.read() as session:
            points, has_more = _whole_steps(session, job, wanted)
        yield from points
        if points:
            wanted = Wanted(wanted.names, points[-1].step + 1, wanted.step_to)
