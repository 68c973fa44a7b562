"""Jobs for OpenAI's clients: the same rows as `/v1/distillation/jobs`, in their shape."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.access import JobsReader, JobsWriter, Service
from app.contracts.fine_tuning import (
    FineTuningCheckpoint,
    FineTuningEvent,
    FineTuningJob,
)
from app.contracts.fine_tuning_request import FineTuningRequest
from app.contracts.registry import Page
from app.listing import METADATA_PARAMETER, After, AfterEvent, Limit, filters
from app.repeats import Again
from app.services import fine_tuning
from app.services.filters import Filters

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["For OpenAI's clients"])

CREATED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The job is stored for good.",
        "headers": {
            "Idempotency-Replayed": {
                "description": "`true` where the request had been answered before.",
                "schema": {"type": "string"},
            }
        },
    }
}


@router.post("", summary="Create a fine-tuning job", responses=CREATED)
def create_fine_tuning_job(
    body: FineTuningRequest,
    caller: JobsWriter,
    service: Service,
    again: Again,
    response: Response,
) -> FineTuningJob:
    """Queue a distillation; the answer comes after it is stored for good."""
    job, is_replayed = fine_tuning.create(
        service.database, service.queue, caller.project_id, body, again
    )
    if is_replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return job


@router.get(
    "",
    summary="List fine-tuning jobs, newest first",
    openapi_extra={"parameters": [METADATA_PARAMETER]},
)
def list_fine_tuning_jobs(
    caller: JobsReader,
    service: Service,
    wanted: Annotated[Filters, Depends(filters)],
    after: After = None,
    limit: Limit = 20,
) -> Page[FineTuningJob]:
    """List all jobs of the project, in whichever shape they were posted."""
    return fine_tuning.list_jobs(service.database, caller.project_id, after, limit, wanted)


@router.get("/{job_id}", summary="Retrieve a fine-tuning job")
def retrieve_fine_tuning_job(job_id: str, caller: JobsReader, service: Service) -> FineTuningJob:
    """Read a job."""
    return fine_tuning.read(service.database, caller.project_id, job_id)


@router.post("/{job_id}/cancel", summary="Cancel a fine-tuning job")
def cancel_fine_tuning_job(job_id: str, caller: JobsWriter, service: Service) -> FineTuningJob:
    """Cancel a job: at once while it waits; `desired_status` says what a running one will do."""
    return fine_tuning.cancel(service.database, caller.project_id, job_id)


@router.post("/{job_id}/pause", summary="Pause a fine-tuning job")
def pause_fine_tuning_job(job_id: str, caller: JobsWriter, service: Service) -> FineTuningJob:
    """Pause a job: at once while it waits; a running one at a checkpoint that it makes soon."""
    return fine_tuning.pause(service.database, caller.project_id, job_id)


@router.post("/{job_id}/resume", summary="Resume a fine-tuning job")
def resume_fine_tuning_job(job_id: str, caller: JobsWriter, service: Service) -> FineTuningJob:
    """Let a paused job wait for a worker, to go on from its newest checkpoint."""
    return fine_tuning.resume(service.database, service.queue, caller.project_id, job_id)


@router.get("/{job_id}/events", summary="List a fine-tuning job's events, newest first")
def list_fine_tuning_events(
    job_id: str, caller: JobsReader, service: Service, after: AfterEvent = None, limit: Limit = 20
) -> Page[FineTuningEvent]:
    """List what happened in a job."""
    return fine_tuning.list_events(service.database, caller.project_id, job_id, after, limit)


@router.get("/{job_id}/checkpoints", summary="List a fine-tuning job's checkpoints, newest first")
def list_fine_tuning_checkpoints(
    job_id: str, caller: JobsReader, service: Service, after: After = None, limit: Limit = 10
) -> Page[FineTuningCheckpoint]:
    """List the checkpoints that are kept: the two newest."""
    return fine_tuning.list_checkpoints(service.database, caller.project_id, job_id, after, limit)
