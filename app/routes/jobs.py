"""Jobs: create, list, read, steer, delete."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from app.access import JobsReader, JobsWriter, Service
from app.contracts.job import Job, JobSpec, ValidatedSpec
from app.contracts.registry import Page
from app.contracts.requests import Cancellation, Changes, Edit
from app.entity_tags import matches
from app.listing import METADATA_PARAMETER, After, IfMatch, Limit, filters
from app.repeats import CREATED, Again, created
from app.services import deletion, jobs, posting
from app.services.filters import Filters
from app.waiting import until_changed

PATH = "/v1/distillation/jobs"

router = APIRouter(prefix=PATH, tags=["Jobs"])


@router.post(
    "",
    summary="Create a job",
    status_code=201,
    response_model=Job,
    responses={
        200: {"model": ValidatedSpec, "description": "With `validate_only`: nothing is queued."},
        **CREATED,
    },
)
def create_job(
    spec: JobSpec,
    caller: JobsWriter,
    service: Service,
    again: Again,
    *,
    validate_only: Annotated[bool, Query(description="Check the spec and queue nothing.")] = False,
) -> Response:
    """Queue a job; the answer comes after it is stored for good."""
    if validate_only:
        checked = posting.validate(service.database, caller.project_id, spec)
        return Response(checked.model_dump_json(), media_type="application/json")
    answer = posting.create(service.database, service.queue, caller.project_id, spec, again)
    return created(answer, PATH)


@router.get(
    "", summary="List jobs, newest first", openapi_extra={"parameters": [METADATA_PARAMETER]}
)
def list_jobs(
    caller: JobsReader,
    service: Service,
    wanted: Annotated[Filters, Depends(filters)],
    after: After = None,
    limit: Limit = 20,
) -> Page[Job]:
    """List the project's jobs for which all that is given holds."""
    return jobs.list_jobs(service.database, caller.project_id, after, limit, wanted)


@router.get(
    "/{job_id}",
    summary="Read a job",
    response_model=Job,
    responses={304: {"description": "The job is as the client's `If-None-Match` knows it."}},
    dependencies=[Depends(until_changed)],
)
def read_job(job_id: str, caller: JobsReader, service: Service, request: Request) -> Response:
    """Read a job; its strong entity tag moves with all that is shown."""
    job = jobs.read(service.database, caller.project_id, job_id)
    etag = jobs.entity_tag(job)
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(job.model_dump_json(), media_type="application/json", headers={"ETag": etag})


@router.patch("/{job_id}", summary="Edit a job")
def edit_job(
    job_id: str,
    body: Edit,
    caller: JobsWriter,
    service: Service,
    response: Response,
    if_match: IfMatch = None,
) -> Job:
    """Change a job's name, metadata or priority: the last only of a job that has not ended."""
    job = jobs.edit(service.database, caller.project_id, job_id, body, if_match)
    response.headers["ETag"] = jobs.entity_tag(job)
    return job


@router.post("/{job_id}/cancel", summary="Cancel a job")
def cancel_job(
    job_id: str, caller: JobsWriter, service: Service, body: Cancellation | None = None
) -> Job:
    """Cancel a job: at once while it waits; a running one ends soon, and cancelling is no error."""
    kill = body is not None and body.mode == "kill"
    return jobs.cancel(service.database, caller.project_id, job_id, kill=kill)


@router.post("/{job_id}/pause", summary="Pause a job")
def pause_job(job_id: str, caller: JobsWriter, service: Service) -> Job:
    """Pause a job: at once while it waits; a running one at a checkpoint that it makes soon."""
    return jobs.pause(service.database, caller.project_id, job_id)


@router.post("/{job_id}/resume", summary="Resume a paused job")
def resume_job(job_id: str, caller: JobsWriter, service: Service) -> Job:
    """Let a paused job wait for a worker, to go on from its newest checkpoint."""
    return jobs.resume(service.database, service.queue, caller.project_id, job_id)


@router.post(
    "/{job_id}/retry",
    summary="Retry a failed or cancelled job",
    status_code=201,
    response_model=Job,
    responses=CREATED,
)
def retry_job(job_id: str, caller: JobsWriter, service: Service, again: Again) -> Response:
    """Queue a new job of the same spec, from the start; the job itself stays as it ended."""
    answer = posting.retry(service.database, service.queue, caller.project_id, job_id, again)
    return created(answer, PATH)


@router.post(
    "/{job_id}/clone",
    summary="Clone a job",
    status_code=201,
    response_model=Job,
    responses=CREATED,
)
def clone_job(
    job_id: str,
    caller: JobsWriter,
    service: Service,
    again: Again,
    changes: Changes | None = None,
) -> Response:
    """Queue a new job of the same spec, whatever the state of the job, with a few changes."""
    answer = posting.clone(
        service.database,
        service.queue,
        caller.project_id,
        job_id,
        changes or Changes(),
        request=again,
    )
    return created(answer, PATH)


@router.delete("/{job_id}", summary="Delete a job", status_code=204)
def delete_job(job_id: str, caller: JobsWriter, service: Service) -> None:
    """Delete a job that has ended, with its files and models; knowledge it collected stays."""
    deletion.delete_job(service.database, caller.project_id, job_id)
