"""The checkpoints of a job: list them, take the model in training away."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.access import JobsReader, Service
from app.contracts.job import Checkpoint
from app.contracts.registry import Page
from app.downloads import RESPONSES, serve_entry
from app.listing import After, Limit
from app.services import checkpoints

router = APIRouter(prefix="/v1/distillation/jobs/{job_id}/checkpoints", tags=["Jobs"])


@router.get("", summary="List a job's checkpoints, newest first")
def list_job_checkpoints(
    job_id: str, caller: JobsReader, service: Service, after: After = None, limit: Limit = 20
) -> Page[Checkpoint]:
    """List the checkpoints that are kept: the two newest."""
    return checkpoints.list_checkpoints(service.database, caller.project_id, job_id, after, limit)


@router.get(
    "/{checkpoint_id}/files/{path:path}",
    summary="Download a checkpoint's file",
    responses=RESPONSES,
    response_class=Response,
)
@router.head(
    "/{checkpoint_id}/files/{path:path}",
    summary="Ask about a checkpoint's file",
    name="head_checkpoint_file",
    responses=RESPONSES,
    response_class=Response,
)
def read_checkpoint_file(
    job_id: str,
    checkpoint_id: str,
    path: str,
    caller: JobsReader,
    service: Service,
    request: Request,
) -> Response:
    """Give a file's bytes, until two newer checkpoints have been made; its tag is their sha256."""
    file = checkpoints.read_checkpoint_file(
        service.database, caller.project_id, job_id, checkpoint_id, path
    )
    return serve_entry(request, service.storage, file)
