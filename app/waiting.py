"""Dependencies of routes that wait for a job to change; none holds a thread meanwhile."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Header, Query, Request
from starlette.concurrency import run_in_threadpool

from app.access import JobsReader, Recognise, Service
from app.contracts.job import FINAL, LARGEST_NUMBER
from app.entity_tags import matches
from app.services import history, jobs
from app.services.keys import Identity
from app.services.watching import Watcher

LONGEST_WAIT_SECONDS = 60


async def watcher(request: Request) -> Watcher:
    return cast("Watcher", request.app.state.watcher)


Watch = Annotated[Watcher, Depends(watcher)]


@dataclass(frozen=True)
class Following:
    """A job whose events are wanted, from after ``number`` on; ``first`` are there already."""

    project_id: str
    number: int
    first: history.Followed
    recognise: Callable[[], Awaitable[Identity]]
    """Raises ``Unauthorized`` once the key that was shown is no longer good."""


async def until_changed(
    job_id: str,
    recognise: Recognise,
    service: Service,
    watch: Watch,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=LONGEST_WAIT_SECONDS,
            description="Seconds to wait for a version other than the one in `If-None-Match`, or "
            "than now's where none is given; a job that has ended is answered at once.",
        ),
    ] = 0,
    if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> None:
    """Return when a job is worth reading, or the client has waited long enough.

    Raises:
        Unauthorized: The key is no longer good.
    """
    if wait == 0:
        return
    caller = await recognise()
    job = await run_in_threadpool(jobs.read, service.database, caller.project_id, job_id)
    is_news = if_none_match is not None and not matches(if_none_match, jobs.entity_tag(job))
    if not is_news and job.status not in FINAL:
        await watch.wait(job_id, job.version, wait)
        await recognise()


async def following(
    job_id: str,
    caller: JobsReader,
    recognise: Recognise,
    service: Service,
    header: Annotated[
        int | None,
        Header(
            alias="Last-Event-ID",
            ge=0,
            le=LARGEST_NUMBER,
            description="The number of the last event known; the stream begins after it.",
        ),
    ] = None,
    last_event_id: Annotated[
        int | None,
        Query(
            ge=0,
            le=LARGEST_NUMBER,
            description="As the header, which counts where both are given: a browser sends it "
            "when it connects again.",
        ),
    ] = None,
) -> Following:
    """Find a job before its stream begins: once that has, there is no other status than 200."""
    number = (header if header is not None else last_event_id) or 0
    first = await run_in_threadpool(
        history.follow_events, service.database, caller.project_id, job_id, number
    )
    return Following(caller.project_id, number, first, recognise)
