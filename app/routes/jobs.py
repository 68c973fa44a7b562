"""Jobs: create, list, read, cancel, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.access import JobsReader, JobsWriter, Service
from app.contracts.job import Job, JobSpec, Status, ValidatedSpec
from app.contracts.registry import Page
from app.contracts.requests import Cancellation
from app.downloads import etag_matches
from app.services import deletion, jobs

PATH = "/v1/distillation/jobs"

router = APIRouter(prefix=PATH, tags=["Jobs"])


@router.post(
    "",
    summary="Create a job",
    status_code=201,
    response_model=Job,
    responses={
        200: {"model": ValidatedSpec, "description": "With `validate_only`: nothing is queued."}
    },
)
def create_job(
    spec: JobSpec,
    caller: JobsWriter,
    service: Service,
    response: Response,
    *,
    validate_only: Annotated[bool, Query(description="Check the spec and queue nothing.")] = False,
) -> Job | Response:
    """Queue a job; the answer comes after it is stored for good."""
    if validate_only:
        checked = jobs.validate(service.database, caller.project_id, spec)
        return Response(checked.model_dump_json(), media_type="application/json")
    job = jobs.create(service.database, service.queue, caller.project_id, spec)
    response.headers["Location"] = f"{PATH}/{job.id}"
    return job


@router.get("", summary="List jobs, newest first")
def list_jobs(
    caller: JobsReader,
    service: Service,
    after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    status: Annotated[Status | None, Query()] = None,
) -> Page[Job]:
    """List the project's jobs."""
    return jobs.list_jobs(service.database, caller.project_id, after, limit, status)


@router.get(
    "/{job_id}",
    summary="Read a job",
    response_model=Job,
    responses={304: {"description": "The job is as the client's `If-None-Match` knows it."}},
)
def read_job(
    job_id: str, caller: JobsReader, service: Service, request: Request, response: Response
) -> Job | Response:
    """Read a job; its strong entity tag moves with all that is shown."""
    job = jobs.read(service.database, caller.project_id, job_id)
    # Why a job waits can change with nothing written to it.
    etag = f'"{job.version}{f"-{job.waiting_reason}" if job.waiting_reason else ""}"'
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return job


@router.post("/{job_id}/cancel", summary="Cancel a job")
def cancel_job(
    job_id: str, caller: JobsWriter, service: Service, body: Cancellation | None = None
) -> Job:
    """Cancel a job: at once while it waits; a running one ends soon, and cancelling is no error."""
    kill = body is not None and body.mode == "kill"
    return jobs.cancel(service.database, caller.project_id, job_id, kill=kill)


@router.delete("/{job_id}", summary="Delete a job", status_code=204)
def delete_job(job_id: str, caller: JobsWriter, service: Service) -> None:
    """Delete a job that has ended, with its files and models; knowledge it collected stays."""
    deletion.delete_job(service.database, caller.project_id, job_id)
