"""What happened in a job: events, metrics, logs."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.responses import Response

from app.access import JobsReader, Service
from app.contracts.job import LARGEST_NUMBER, JobEvent, MetricPoint
from app.contracts.registry import Page
from app.listing import AfterEvent, Limit
from app.services import history, sampling

LARGEST_STEP = 2**63 - 1

router = APIRouter(prefix="/v1/distillation/jobs/{job_id}", tags=["Jobs"])

Step = Annotated[int | None, Query(ge=0, le=LARGEST_STEP)]


@router.get("/events", summary="List a job's events, oldest first")
def list_job_events(
    job_id: str, caller: JobsReader, service: Service, after: AfterEvent = None, limit: Limit = 20
) -> Page[JobEvent]:
    """List every change of a job, numbered from 1 without gaps."""
    return history.list_events(service.database, caller.project_id, job_id, after, limit)


@router.get(
    "/metrics",
    summary="List what a job measured",
    response_model=Page[MetricPoint],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def list_job_metrics(  # noqa: PLR0913, PLR0917 (query parameters)
    job_id: str,
    caller: JobsReader,
    service: Service,
    names: Annotated[
        list[str], Query(description="Series; several with commas or by repeating.")
    ] = [],  # noqa: B006 (FastAPI copies it)
    step_from: Step = None,
    step_to: Step = None,
    resolution: Annotated[
        int | None,
        Query(
            ge=4,
            le=10_000,
            description="Most points of a series, in one page: its first and last, and the least "
            "and greatest of equal stretches of steps.",
        ),
    ] = None,
    format: Annotated[  # noqa: A002 (its name in the API)
        Literal["json", "csv"] | None, Query(description="What `Accept` says, or else JSON.")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Page[MetricPoint] | Response:
    """List values by step: JSON in pages of 10,000 that end with a whole step, CSV in one piece.

    One curve over all attempts: where several measured a step, the last one's value counts.
    """
    is_csv = format == "csv" if format else accept.split(";")[0].strip() == "text/csv"
    series = tuple(name for part in names for name in part.split(",") if name)
    wanted = history.Wanted(series, step_from, step_to)
    whose = (service.database, caller.project_id, job_id, wanted)
    if resolution is not None:
        page = sampling.sample_metrics(*whose, resolution)
        return _csv_response(page.data) if is_csv else page
    if is_csv:
        return _csv_response(history.iterate_metrics(*whose))
    return history.list_metrics(*whose)


@router.get("/logs", summary="Read what a job's trainer printed", response_class=PlainTextResponse)
def read_job_log(
    job_id: str,
    caller: JobsReader,
    service: Service,
    tail: Annotated[int | None, Query(ge=1, le=LARGEST_NUMBER, description="Last lines.")] = None,
    attempt: Annotated[
        int | None,
        Query(ge=1, le=LARGEST_NUMBER, description="From 1; the latest, where not given."),
    ] = None,
) -> str:
    """Read the output of one attempt, at most its first MiB."""
    return history.read_log(service.database, caller.project_id, job_id, attempt, tail)


def _csv_response(points: Iterable[MetricPoint]) -> Response:
    return StreamingResponse(_csv(points), media_type="text/csv")


def _csv(points: Iterable[MetricPoint]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(["name", "step", "value", "created_at"])
    for point in points:
        yield line.getvalue()
        line.seek(0)
        line.truncate()
        writer.writerow([point.name, point.step, point.value, point.created_at.isoformat()])
    yield line.getvalue()
