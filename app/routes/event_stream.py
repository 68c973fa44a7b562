"""A job's events as they happen."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.access import Service
from app.contracts.job import FINAL, JobEvent, StreamEnd
from app.db.session import AWAY
from app.errors import NotFound, Unauthorized
from app.services import history
from app.services.keys import Identity
from app.services.watching import Watcher
from app.waiting import Following, Watch, following

KEY_SECONDS = 60.0
"""How long a stream on which nothing happens may go on with a key that is no longer good."""

router = APIRouter(prefix="/v1/distillation/jobs/{job_id}/events", tags=["Jobs"])


@router.get("/stream", summary="Follow a job's events", response_class=EventSourceResponse)
async def stream_job_events(
    job_id: str,
    service: Service,
    watch: Watch,
    start: Annotated[Following, Depends(following)],
) -> AsyncIterator[ServerSentEvent]:
    """Send every event of a job as a server-sent event, its number as `id`, until the job ends.

    Then comes `event: done`, without an id, and the stream ends. One that ends without it was cut:
    connect again with `Last-Event-ID`, and nothing is missing and nothing comes twice.
    """
    number, some = start.number, start.first
    while True:
        for event in some.events:
            number = event.number
            yield _sent(event)
        if some.is_last:
            if some.status in FINAL:
                yield _done(StreamEnd(status=some.status))
                return
            if not await _has_changed(watch, job_id, some.version, start.recognise):
                return
        try:
            await start.recognise()
            some = await run_in_threadpool(
                history.follow_events, service.database, start.project_id, job_id, number
            )
        except (Unauthorized, *AWAY):
            # A cut, after which the client connects again; its answer then says what is wrong.
            return
        except NotFound:
            yield _done(StreamEnd(status="deleted"))
            return


async def _has_changed(
    watch: Watcher, job_id: str, version: int, recognise: Callable[[], Awaitable[Identity]]
) -> bool:
    """Wait for news of a job; False where the process is to end, or the key is no longer good.

    A database that is away says nothing against a key.
    """
    while not await watch.wait(job_id, version, KEY_SECONDS):
        if watch.is_closed:
            return False
        try:
            with suppress(*AWAY):
                await recognise()
        except Unauthorized:
            return False
    return True


def _sent(event: JobEvent) -> ServerSentEvent:
    return ServerSentEvent(data=event, id=str(event.number))


def _done(end: StreamEnd) -> ServerSentEvent:
    return ServerSentEvent(event="done", data=end)
